//! What a module means to the operator: its files, its delay, and the memory it takes on a CPU.

use std::fs;

use super::super::Description;
use super::super::hub::{Hub, HubError};
use super::SttModule;
use crate::config::report::human;
use crate::model::layout::dtype::{KvFormat, WeightFormat};
use crate::model::layout::memory::{LmWeights, MemoryPlan};
use crate::model::layout::mimi::MimiConfig;
use crate::stream::frame::FRAME_RATE;

pub(super) fn describe(module: &SttModule, hub: &Hub) -> Description {
    let (mut lines, mut usable) = (Vec::new(), true);
    let (mut lm_bytes, mut mimi) = (None, MimiConfig::published());
    for (what, name) in [
        ("model", &module.lm_model_file),
        ("codec", &module.audio_tokenizer_file),
        ("tokenizer", &module.text_tokenizer_file),
    ] {
        let state = match hub.local(name) {
            Ok(Some(path)) => {
                let bytes = fs::metadata(&path).map_or(0, |meta| meta.len());
                match what {
                    "model" => lm_bytes = Some(bytes),
                    // A codec that cannot be read is an error when the worker loads it.
                    "codec" => mimi = MimiConfig::read(&path).unwrap_or(mimi),
                    _ => {}
                }
                format!("{} ({})", path.display(), human(bytes))
            }
            Ok(None) => format!("{name} (not in the cache, will be fetched)"),
            Err(HubError::Missing(path)) => {
                usable = false;
                format!("{} (MISSING)", path.display())
            }
            Err(error) => {
                usable = false;
                error.to_string()
            }
        };
        lines.push(format!("{what:10} {state}"));
    }
    lines.push(timing(module));
    lines.push(memory(module, lm_bytes, &mimi));
    Description { lines, usable }
}

fn timing(module: &SttModule) -> String {
    let delay_s = f64::from(module.asr_delay_in_tokens) / FRAME_RATE;
    let context_s = module.model.transformer.context as f64 / FRAME_RATE;
    let pauses = match module.model.pause_heads() {
        0 => "no pause prediction".to_owned(),
        heads => format!("{heads} pause predictors"),
    };
    format!("text {delay_s:.2} s behind the audio, {context_s:.0} s of context, {pauses}")
}

/// The plan of the module's memory with a codec of the shape `mimi`. `lm_bytes` is the size of the language model's file,
/// where it is at hand; published ones hold bf16.
fn plan(module: &SttModule, lm_bytes: Option<u64>, mimi: &MimiConfig) -> Option<MemoryPlan> {
    let config = module.config().ok()?;
    let weights = match (config.weights, lm_bytes) {
        (Some(format), _) => LmWeights::As(format),
        (None, Some(bytes)) => LmWeights::Held(bytes),
        (None, None) => LmWeights::As(WeightFormat::Bf16),
    };
    let cache = config.kv_cache.unwrap_or(KvFormat::F32);
    Some(MemoryPlan::cpu(
        &config.lm,
        mimi,
        weights,
        cache,
        module.batch_size,
    ))
}

fn memory(module: &SttModule, lm_bytes: Option<u64>, mimi: &MimiConfig) -> String {
    // A checked module names only formats that there are.
    let Some(plan) = plan(module, lm_bytes, mimi) else {
        return String::new();
    };
    let rows = module.batch_size as u64;
    format!(
        "about {} of memory: {} of weights and {} for each of {rows} streams",
        human(plan.total(rows)),
        human(plan.weights),
        human(plan.each())
    )
}

#[cfg(test)]
mod tests {
    use super::super::tests::published;
    use super::*;

    #[test]
    fn the_published_model_has_its_known_size() {
        let mut module = published();
        let bytes = |module: &SttModule, file| plan(module, file, &MimiConfig::published()).unwrap();
        // 135 tensors: [8001 + 32·2049 + 8000 + 24, 2048] and 16 layers, in bf16; the codec's encoder in f32.
        let lm = 2 * (2048 * (8001 + 32 * 2049 + 8000 + 24 + 1) + 16 * 51_384_320);
        let codec = 4 * MimiConfig::published().encoder_values(32);
        assert_eq!(bytes(&module, None).weights, lm + codec);
        module.dtype_override = Some("f32".to_owned());
        assert_eq!(bytes(&module, None).weights, 2 * lm + codec);
        // 16 layers · 2 · 750 · 2048 values, of 4 bytes and of 2.
        let whole = bytes(&module, None).row;
        module.kv_cache_dtype = Some("bf16".to_owned());
        assert_eq!(whole - bytes(&module, None).row, 98_304_000);
        assert!((98_304_000..110_000_000).contains(&bytes(&module, None).row));
    }

    #[test]
    fn a_file_at_hand_is_measured() {
        let module = published();
        let weights = |file| {
            plan(&module, Some(file), &MimiConfig::published())
                .unwrap()
                .weights
        };
        assert_eq!(weights(1_000), weights(0) + 1_000);
    }
}
