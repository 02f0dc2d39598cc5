//! The `[modules.NAME]` tables of Kyutai's configuration files.

use std::collections::BTreeMap;

use serde::Deserialize;

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

/// Shape of the language model.
#[derive(Clone, Debug, Deserialize)]
pub struct LmConfig {
    pub audio_vocab_size: usize,
    pub text_in_vocab_size: usize,
    pub text_out_vocab_size: usize,
    pub audio_codebooks: usize,
    pub transformer: TransformerConfig,
    pub extra_heads: Option<ExtraHeads>,
    #[serde(default)]
    pub conditioners: BTreeMap<String, Conditioner>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ExtraHeads {
    pub num_heads: usize,
    pub dim: usize,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type")]
pub enum Conditioner {
    Lut {
        n_bins: usize,
        dim: usize,
        possible_values: Vec<String>,
    },
    ContinuousAttribute {
        dim: usize,
        scale_factor: f32,
        max_period: f32,
    },
}

/// Shape of the transformer. Only what published checkpoints use is supported; the loader names what is not.
#[derive(Clone, Debug, Deserialize)]
pub struct TransformerConfig {
    pub d_model: usize,
    pub num_heads: usize,
    pub num_layers: usize,
    pub dim_feedforward: usize,
    pub context: usize,
    pub max_period: f64,
    pub gating: Option<String>,
    pub norm: String,
    pub positional_embedding: String,
    #[serde(default)]
    pub causal: bool,
    #[serde(default)]
    pub norm_first: bool,
    #[serde(default)]
    pub bias_ff: bool,
    #[serde(default)]
    pub bias_attn: bool,
    pub layer_scale: Option<f64>,
    #[serde(default)]
    pub use_conv_block: bool,
    #[serde(default = "one")]
    pub kv_repeat: usize,
}
