use moshi_server::config::module::AsrModule;
use moshi_server::model::device::Device;
use moshi_server::model::{LoadOptions, StepIo, StepOutput, load};
use moshi_server::stream::ids::RowId;
use std::path::Path;
#[test]
fn hash() {
    for name in ["tiny-1b", "tiny-2.6b", "tiny-delay"] {
        for (dtype, cache, t) in [
            (None, None, 0.0),
            (Some("bf16"), Some("bf16"), 0.7),
            (Some("q8_0"), None, 0.0),
        ] {
            let dir = Path::new(env!("CARGO_MANIFEST_DIR"))
                .join("tests/fixtures")
                .join(name);
            let text = std::fs::read_to_string(dir.join("config.toml")).unwrap();
            let table: toml::Table = text.parse().unwrap();
            let mut m: AsrModule = table["modules"]["asr"].clone().try_into().unwrap();
            for f in [
                &mut m.lm_model_file,
                &mut m.text_tokenizer_file,
                &mut m.audio_tokenizer_file,
            ] {
                *f = dir.join(&*f).to_string_lossy().into_owned();
            }
            m.dtype_override = dtype.map(str::to_owned);
            m.kv_cache_dtype = cache.map(str::to_owned);
            m.temperature = t;
            let mut model = load(
                &m.stt().unwrap(),
                LoadOptions {
                    rows: 5,
                    threads: 2,
                    device: Device::Cpu,
                },
            )
            .unwrap()
            .model;
            let mut out = StepOutput::default();
            let mut h = 0xcbf29ce484222325u64;
            for s in 0..80usize {
                let rows: Vec<RowId> = (0..5u16)
                    .filter(|r| (s + *r as usize) % 4 > 0)
                    .map(RowId)
                    .collect();
                if s == 40 {
                    model.reset_row(RowId(2), 77);
                }
                let pcm: Vec<f32> = (0..rows.len() * 1920)
                    .map(|i| 0.3 * ((i + s * 1920) as f32 / (7.0 + s as f32 % 5.0)).sin())
                    .collect();
                model
                    .step(&mut StepIo {
                        rows: &rows,
                        audio: &pcm,
                        out: &mut out,
                    })
                    .unwrap();
                for x in out
                    .tokens
                    .iter()
                    .copied()
                    .chain(out.pauses.iter().map(|p| p.to_bits()))
                {
                    h = (h ^ x as u64).wrapping_mul(0x100000001b3);
                }
            }
            println!("HASH {name} {dtype:?} {h:016x}");
        }
    }
}
