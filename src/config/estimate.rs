//! How much memory a speech-to-text module takes on a CPU.

use std::fmt;

use crate::config::module::AsrModule;
use crate::model::layout::dtype::{KvFormat, UnknownFormat, WeightFormat};
use crate::model::layout::memory::{LmWeights, MemoryPlan};
use crate::model::layout::mimi::MimiConfig;

/// Memory of one module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    pub plan: MemoryPlan,
    pub rows: u64,
}

impl Estimate {
    /// Estimates `asr` with a codec of the shape `mimi`. `lm_file` is the size of the language model's file, where it is
    /// at hand; published ones hold bf16.
    ///
    /// # Errors
    /// A number format is unknown.
    pub fn of(asr: &AsrModule, lm_file: Option<u64>, mimi: &MimiConfig) -> Result<Self, UnknownFormat> {
        let stt = asr.stt()?;
        let weights = match (stt.weights, lm_file) {
            (Some(format), _) => LmWeights::As(format),
            (None, Some(bytes)) => LmWeights::Held(bytes),
            (None, None) => LmWeights::As(WeightFormat::Bf16),
        };
        let cache = stt.kv_cache.unwrap_or(KvFormat::F32);
        Ok(Self {
            plan: MemoryPlan::cpu(&stt.lm, mimi, weights, cache, asr.batch_size),
            rows: asr.batch_size as u64,
        })
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { plan, rows } = self;
        let (weights, each, total) = (human(plan.weights), human(plan.each()), human(plan.total(*rows)));
        write!(
            f,
            "about {total} of memory: {weights} of weights and {each} for each of {rows} streams"
        )
    }
}

/// Returns a number of bytes as people write it.
#[must_use]
pub fn human(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::expand::Expander;
    use crate::config::{Config, bundled};

    fn published() -> AsrModule {
        let (config, _) =
            Config::parse("test", bundled::EN_FR, &Expander::new(|_| Some(String::new()))).unwrap();
        config.modules["asr"].asr().unwrap().clone()
    }

    fn plan(asr: &AsrModule, lm_file: Option<u64>) -> MemoryPlan {
        Estimate::of(asr, lm_file, &MimiConfig::published()).unwrap().plan
    }

    #[test]
    fn the_published_model_has_its_known_size() {
        let mut asr = published();
        // 135 tensors: [8001 + 32·2049 + 8000 + 24, 2048] and 16 layers, in bf16; the codec's encoder in f32.
        let lm = 2 * (2048 * (8001 + 32 * 2049 + 8000 + 24 + 1) + 16 * 51_384_320);
        let codec = 4 * MimiConfig::published().encoder_values(32);
        assert_eq!(plan(&asr, None).weights, lm + codec);
        asr.dtype_override = Some("f32".to_owned());
        assert_eq!(plan(&asr, None).weights, 2 * lm + codec);
        // 16 layers · 2 · 750 · 2048 values, of 4 bytes and of 2.
        let whole = plan(&asr, None).row;
        asr.kv_cache_dtype = Some("bf16".to_owned());
        assert_eq!(whole - plan(&asr, None).row, 98_304_000);
        assert!((98_304_000..110_000_000).contains(&plan(&asr, None).row));
    }

    #[test]
    fn a_file_at_hand_is_measured() {
        let asr = published();
        let without_lm = plan(&asr, Some(0)).weights;
        assert_eq!(plan(&asr, Some(1_000)).weights, without_lm + 1_000);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            (human(5_400), human(98_304_000), human(6_290_000_000)),
            ("5 kB".into(), "98 MB".into(), "6.3 GB".into())
        );
    }
}
