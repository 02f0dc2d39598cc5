//! A model step on the CPU allocates nothing once its streams are under way: codec (either way), attention, caches,
//! sampling, the text machine and the depformer.

mod counting;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use counting::allocations;
use moshi_server::model::codec::CodecDecoder;
use moshi_server::model::device::Device;
use moshi_server::model::tts::{self, SpeechCheckpoint, TtsConfig};
use moshi_server::model::voice_file;
use moshi_server::model::{LoadOptions, StepIo, StepOutput, load};
use moshi_server::module::stt::SttModule;
use moshi_server::stream::ids::RowId;
use moshi_server::stream::text::TextEntry;

/// The fixture's rings hold 24 frames: all of them wrap before the count starts.
const WARM_UP: usize = 40;
const STEADY: usize = 60;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

// All rows, then only some of them: the batch changes its size while the count runs.
fn batches() -> [Vec<RowId>; 3] {
    [vec![0, 1, 2, 3], vec![0, 3], vec![2]].map(|ids| ids.into_iter().map(RowId).collect())
}

// Allocations of the steady ones of many steps.
fn counted(mut step: impl FnMut(usize)) -> u64 {
    (0..WARM_UP).for_each(&mut step);
    let before = allocations();
    (WARM_UP..WARM_UP + STEADY).for_each(&mut step);
    allocations() - before
}

fn module() -> SttModule {
    let dir = fixture("tiny-1b");
    let text = std::fs::read_to_string(dir.join("config.toml")).unwrap();
    let table: toml::Table = text.parse().unwrap();
    let mut module: SttModule = table["modules"]["asr"].clone().try_into().unwrap();
    for file in [
        &mut module.lm_model_file,
        &mut module.text_tokenizer_file,
        &mut module.audio_tokenizer_file,
    ] {
        *file = dir.join(&*file).to_string_lossy().into_owned();
    }
    module
}

#[test]
fn a_steady_step_allocates_nothing() {
    for (dtype, cache, temperature) in [
        (None, None, 0.0),
        (Some("bf16"), Some("bf16"), 0.6),
        (Some("q8_0"), None, 0.0),
    ] {
        let mut module = module();
        module.dtype_override = dtype.map(str::to_owned);
        module.kv_cache_dtype = cache.map(str::to_owned);
        module.temperature = temperature;
        let options = LoadOptions {
            rows: 4,
            threads: 2,
            device: Device::Cpu,
        };
        let mut model = load(&module.config().unwrap(), options).unwrap().model;
        let batches = batches();
        let audio: Vec<f32> = (0..4 * 1920).map(|i| 0.3 * (i as f32 / 9.0).sin()).collect();
        let mut out = StepOutput::default();
        (0..4).for_each(|i| model.reset_row(RowId(i), u64::from(i)));
        let made = counted(|step| {
            let rows = &batches[step % 3];
            let audio = &audio[..rows.len() * 1920];
            model
                .step(&mut StepIo {
                    rows,
                    audio,
                    out: &mut out,
                })
                .unwrap();
        });
        assert_eq!(made, 0, "in {STEADY} steps with weights of {dtype:?}");
    }
    // In the same test: the allocations of another would be counted, too.
    let mut decoder = CodecDecoder::load(&fixture("codec-plain").join("mimi.safetensors"), 32, 4, 2).unwrap();
    let batches = batches();
    let codes: Vec<u32> = (0..4 * 32).map(|i| i * 7 % 24).collect();
    let mut audio = vec![0.0; 4 * 1920];
    let made = counted(|step| {
        let rows = &batches[step % 3];
        let audio = &mut audio[..rows.len() * 1920];
        decoder.decode(rows, &codes[..rows.len() * 32], audio).unwrap();
    });
    assert_eq!(made, 0, "in {STEADY} steps of the decoder");
}

#[test]
fn a_steady_step_of_speech_allocates_nothing() {
    let dir = fixture("tiny-tts");
    let mut config = TtsConfig::new(SpeechCheckpoint::read(&dir.join("config.json")).unwrap());
    for file in [
        &mut config.lm_file,
        &mut config.codec_file,
        &mut config.tokenizer_file,
    ] {
        *file = dir.join(&*file);
    }
    config.voice_steps = 6;
    let options = LoadOptions {
        rows: 4,
        threads: 2,
        device: Device::Cpu,
    };
    let mut model = tts::load(&config, options).unwrap().model;
    let voice = Arc::new(voice_file::read("first", &dir.join("first.wav.0badcafe@7.safetensors")).unwrap());
    for row in (0..4).map(RowId) {
        model.reset_row(row, u64::from(row.0));
        model.set_voice(row, &voice).unwrap();
        for word in 0..200u32 {
            let tokens = (0..=word % 5).map(|token| 40 + token).collect();
            model.push_text(row, TextEntry::Word(tokens));
        }
    }
    let (batches, mut out) = (batches(), StepOutput::default());
    let made = counted(|step| {
        let rows = &batches[step % 3];
        let io = &mut StepIo {
            rows,
            audio: &[],
            out: &mut out,
        };
        model.step(io).unwrap();
    });
    assert!(out.sounds.iter().all(|sounds| *sounds));
    assert_eq!(made, 0, "in {STEADY} steps");
}
