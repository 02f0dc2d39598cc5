//! Reading a fixture and making its audio.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use safetensors::SafeTensors;

use crate::model::stt::{Conditioning, SttConfig};

/// A checkpoint under `tests/fixtures` with the reference's results.
pub(in crate::model) struct Fixture {
    pub(in crate::model) dir: PathBuf,
    pub(in crate::model) config: SttConfig,
    expected: Expected,
}

/// What the reference computed with a checkpoint.
pub(in crate::model) struct Expected(Vec<u8>);

/// Returns the folder of the fixture called `name`.
pub(in crate::model) fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures")
        .join(name)
}

impl Fixture {
    pub(in crate::model) fn open(name: &str) -> Self {
        let dir = folder(name);
        let text = std::fs::read_to_string(dir.join("config.toml")).unwrap();
        let table: toml::Table = text.parse().unwrap();
        let asr = &table["modules"]["asr"];
        let file = |key: &str| dir.join(asr[key].as_str().unwrap());
        let config = SttConfig {
            lm_file: file("lm_model_file"),
            codec_file: file("audio_tokenizer_file"),
            tokenizer_file: file("text_tokenizer_file"),
            text_delay: u32::try_from(asr["asr_delay_in_tokens"].as_integer().unwrap()).unwrap(),
            conditioning: Conditioning {
                delay_s: asr
                    .get("conditioning_delay")
                    .map(|delay| delay.as_float().unwrap() as f32),
                learnt_padding: asr
                    .get("conditioning_learnt_padding")
                    .is_some_and(|padding| padding.as_bool().unwrap()),
            },
            temperature: 0.0,
            weights: None,
            kv_cache: None,
            lm: asr["model"].clone().try_into().unwrap(),
        };
        Self {
            expected: Expected::open(&dir),
            dir,
            config,
        }
    }
}

impl Deref for Fixture {
    type Target = Expected;

    fn deref(&self) -> &Expected {
        &self.expected
    }
}

impl Expected {
    pub(in crate::model) fn open(dir: &Path) -> Self {
        Self(std::fs::read(dir.join("expected.safetensors")).unwrap())
    }

    pub(in crate::model) fn floats(&self, name: &str) -> Vec<f32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let data = tensors.tensor(name).unwrap().data();
        data.chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect()
    }

    pub(in crate::model) fn ints(&self, name: &str) -> Vec<u32> {
        let tensors = SafeTensors::deserialize(&self.0).unwrap();
        let view = tensors.tensor(name).unwrap();
        match view.dtype().bitsize() {
            8 => view.data().iter().map(|b| u32::from(*b)).collect(),
            _ => view
                .data()
                .chunks_exact(4)
                .map(|b| u32::from_le_bytes(b.try_into().unwrap()))
                .collect(),
        }
    }
}

const LEVELS: [i64; 8] = [0, 9000, 3000, 14000, 500, 6000, 0, 11000];

/// The audio of `tools/reference/audio.py`, to the bit: `frames × 1920` samples.
pub(in crate::model) fn pcm(seed: u32, frames: usize) -> Vec<f32> {
    let mut state = seed;
    let sample = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let part = i / 7200 + seed as usize;
        let level = LEVELS[part % LEVELS.len()];
        let wave = if (i / (20 + part * 37 % 90)) % 2 == 1 {
            level
        } else {
            -level
        };
        let noise = ((i64::from(state >> 16) - 32768) * level).div_euclid(32768);
        ((wave + noise).div_euclid(2)) as f32 / 32768.0
    };
    (0..frames * 1920).map(sample).collect()
}

/// Largest difference, relative to the largest expected magnitude.
pub(in crate::model) fn relative_error(got: &[f32], want: &[f32]) -> f32 {
    assert_eq!(got.len(), want.len());
    let scale = want.iter().fold(0.0f32, |m, x| m.max(x.abs()));
    got.iter()
        .zip(want)
        .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()))
        / scale
}
