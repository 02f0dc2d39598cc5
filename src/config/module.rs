//! The `[modules.NAME]` tables of Kyutai's configuration files.

use serde::Deserialize;

use crate::model::layout::dtype::UnknownFormat;
use crate::model::layout::lm::LmConfig;
use crate::model::stt::{Conditioning, SttConfig};

/// Keys of a `BatchedAsr` (or `Asr`) module. File names may hold `$VAR` and `hf://org/repo/file`.
#[derive(Clone, Debug, Deserialize)]
pub struct AsrModule {
    pub path: String,
    pub lm_model_file: String,
    pub text_tokenizer_file: String,
    pub audio_tokenizer_file: String,
    pub asr_delay_in_tokens: u32,
    #[serde(default = "one")]
    pub batch_size: usize,
    /// 0 is greedy; above it Gumbel-max sampling.
    #[serde(default)]
    pub temperature: f64,
    /// Seconds; overrides `asr_delay_in_tokens` with `floor(12.5·v) + 1` where the checkpoint is conditioned on delay.
    pub conditioning_delay: Option<f32>,
    #[serde(default)]
    pub conditioning_learnt_padding: bool,
    /// `f32`, `bf16`, `f16` or our addition `q8_0`: how the language model's weights are held.
    pub dtype_override: Option<String>,
    /// Our addition: how the language model's keys and values are held. On a CPU `f32` (as without it) or `bf16`; on a
    /// GPU as its weights are, or `fp8`.
    pub kv_cache_dtype: Option<String>,
    pub model: LmConfig,
}

fn one() -> usize {
    1
}

impl AsrModule {
    /// Returns the model that the module describes, once its file names are paths.
    ///
    /// # Errors
    /// `dtype_override` or `kv_cache_dtype` is no format. A checked configuration has none such.
    pub fn stt(&self) -> Result<SttConfig, UnknownFormat> {
        Ok(SttConfig {
            lm_file: self.lm_model_file.clone().into(),
            codec_file: self.audio_tokenizer_file.clone().into(),
            tokenizer_file: self.text_tokenizer_file.clone().into(),
            text_delay: self.asr_delay_in_tokens,
            conditioning: Conditioning {
                delay_s: self.conditioning_delay,
                learnt_padding: self.conditioning_learnt_padding,
            },
            temperature: self.temperature,
            weights: self.dtype_override.as_deref().map(str::parse).transpose()?,
            kv_cache: self.kv_cache_dtype.as_deref().map(str::parse).transpose()?,
            lm: self.model.clone(),
        })
    }
}
