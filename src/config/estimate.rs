//! How much memory a speech-to-text module takes on a CPU, from its shape alone.

use std::fmt;

use crate::config::module::{AsrModule, LmConfig};

/// Frames a second of the codec.
pub const FRAME_RATE: f64 = 12.5;

/// Bytes of Mimi's encoder and quantizer as published, f32, where its file is not at hand to be measured.
const MIMI_BYTES: u64 = 385 << 20;

/// State of Mimi's encoder for one stream, f32: 8 layers, keys and values, 250 positions of 512, and a little for the
/// convolutions.
const MIMI_ROW_BYTES: u64 = 8 * 2 * 250 * 512 * 4 + (256 << 10);

/// Memory of one module, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Estimate {
    /// Weights of the language model and the codec, once.
    pub weights: u64,
    /// State of one stream.
    pub row: u64,
    pub rows: u64,
}

impl Estimate {
    /// The estimate of `asr`. `lm_file` and `codec_file` are the sizes of its files, where they are at hand.
    #[must_use]
    pub fn of(asr: &AsrModule, lm_file: Option<u64>, codec_file: Option<u64>) -> Self {
        let values = lm_values(&asr.model);
        let stored = asr
            .dtype_override
            .as_deref()
            .map(|dtype| values * bits(dtype) / 8);
        let lm = stored.or(lm_file).unwrap_or(values * 2);
        let shape = &asr.model.transformer;
        let number = bits(asr.kv_cache_dtype.as_deref().unwrap_or("f32")) / 8;
        let cache = (shape.num_layers * 2 * shape.context * shape.d_model) as u64 * number;
        Self {
            weights: lm + codec_file.unwrap_or(MIMI_BYTES),
            row: cache + MIMI_ROW_BYTES,
            rows: asr.batch_size as u64,
        }
    }

    /// All of it.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.weights.saturating_add(self.row.saturating_mul(self.rows))
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { weights, row, rows } = self;
        let (weights, row, total) = (human(*weights), human(*row), human(self.total()));
        write!(
            f,
            "about {total} of memory: {weights} of weights and {row} for each of {rows} streams"
        )
    }
}

/// Values of the language model's weights.
fn lm_values(model: &LmConfig) -> u64 {
    let shape = &model.transformer;
    let d = shape.d_model as u64;
    let ff = shape.dim_feedforward as u64;
    // Kyutai's files write 4·d for a gated layer of 11·d/4.
    let hidden = if ff == 4 * d { 11 * d / 4 } else { 2 * ff / 3 };
    let layer = 4 * d * d + 3 * d * hidden + 2 * d;
    let embeddings =
        model.text_in_vocab_size as u64 + model.audio_codebooks as u64 * model.audio_vocab_size as u64;
    let heads = model
        .extra_heads
        .as_ref()
        .map_or(0, |heads| heads.num_heads as u64 * heads.dim as u64);
    shape.num_layers as u64 * layer + d * (embeddings + model.text_out_vocab_size as u64 + heads + 1)
}

/// Bits of one number.
fn bits(dtype: &str) -> u64 {
    match dtype {
        "q8_0" => 9, // 32 values of 8 bits and a scale of 16
        "bf16" | "f16" => 16,
        "fp8" => 8,
        _ => 32,
    }
}

/// A number of bytes as people say it.
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
        let (config, _) = Config::parse(
            "test",
            bundled::EN_FR,
            &Expander::new(|_| Some(String::new())),
            &[],
        )
        .unwrap();
        config.modules["asr"].asr().unwrap().clone()
    }

    #[test]
    fn the_published_model_has_its_known_size() {
        let mut asr = published();
        // 135 tensors: [8001 + 32·2049 + 8000 + 24, 2048] and 16 layers, in bf16.
        asr.dtype_override = Some("bf16".to_owned());
        let estimate = Estimate::of(&asr, None, Some(0));
        assert_eq!(
            estimate.weights,
            2 * (2048 * (8001 + 32 * 2049 + 8000 + 24 + 1) + 16 * 51_384_320)
        );
        // 16 layers · 2 · 750 · 2048 values of 4 bytes.
        assert_eq!(estimate.row - MIMI_ROW_BYTES, 196_608_000);
        asr.kv_cache_dtype = Some("bf16".to_owned());
        assert_eq!(Estimate::of(&asr, None, None).row - MIMI_ROW_BYTES, 98_304_000);
        assert_eq!(estimate.total(), estimate.weights + 64 * estimate.row);
    }

    #[test]
    fn files_at_hand_are_measured() {
        assert_eq!(Estimate::of(&published(), Some(1_000), Some(500)).weights, 1_500);
    }

    #[test]
    fn sizes_read_well() {
        assert_eq!(
            (human(5_400), human(98_304_000), human(6_290_000_000)),
            ("5 kB".into(), "98 MB".into(), "6.3 GB".into())
        );
    }
}
