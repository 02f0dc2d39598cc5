//! The language model as Kyutai's configuration files describe it: sizes, tensor names and supported settings.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::transformer::{Feed, Shape};
use crate::model::error::LoadError;

/// Name of the table of text tokens' embeddings.
pub(crate) const TEXT_EMBEDDING: &str = "text_emb.weight";
/// Name of the transformer.
pub(crate) const TRANSFORMER: &str = "transformer";
/// Name of the norm before the heads.
pub(crate) const OUT_NORM: &str = "out_norm";
/// Name of the head that gives the text logits.
pub(crate) const TEXT_HEAD: &str = "text_linear.weight";

/// Sizes of the language model.
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

/// Heads beside the text head: pause predictions in Kyutai's 1B checkpoint.
#[derive(Clone, Debug, Deserialize)]
pub struct ExtraHeads {
    pub num_heads: usize,
    /// Classes per head; the first is the one whose probability is asked for.
    pub dim: usize,
}

/// How a property of the whole stream is turned into a vector.
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

/// Sizes of the transformer. Only what published checkpoints use is supported; loading names what is not.
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

fn one() -> usize {
    1
}

/// Name of the embeddings of codebook `index`.
pub(crate) fn audio_embedding(index: usize) -> String {
    format!("emb.{index}.weight")
}

/// Name of extra head `index`.
pub(crate) fn extra_head(index: usize) -> String {
    format!("extra_heads.{index}.weight")
}

impl LmConfig {
    /// Returns how many pause predictions there are per step and row.
    #[must_use]
    pub fn pause_heads(&self) -> usize {
        self.extra_heads.as_ref().map_or(0, |heads| heads.num_heads)
    }

    /// Returns the classes of a pause head.
    pub(crate) fn pause_classes(&self) -> usize {
        self.extra_heads.as_ref().map_or(0, |heads| heads.dim)
    }

    /// Returns the shape of the transformer.
    pub(crate) fn shape(&self) -> Shape {
        let t = &self.transformer;
        Shape {
            dim: t.d_model,
            heads: t.num_heads,
            layers: t.num_layers,
            hidden: t.gated_width(),
            feed: Feed::SwiGlu,
            context: t.context,
            max_period: t.max_period,
            layer_scale: false,
            tokens: 1,
        }
    }

    /// Returns the text token that stands before a stream's first.
    ///
    /// # Errors
    /// The vocabulary has no size.
    pub(crate) fn initial_token(&self) -> Result<u32, LoadError> {
        last(self.text_in_vocab_size, "text_in_vocab_size")
    }

    /// Returns the audio code that stands before a stream's first.
    ///
    /// # Errors
    /// The vocabulary has no size.
    pub(crate) fn initial_code(&self) -> Result<u32, LoadError> {
        last(self.audio_vocab_size, "audio_vocab_size")
    }

    /// Returns how many values the weights have, those of conditioners left out.
    pub(crate) fn values(&self) -> u64 {
        let embeddings = self.text_in_vocab_size + self.audio_codebooks * self.audio_vocab_size;
        let heads = self.text_out_vocab_size + self.pause_heads() * self.pause_classes();
        let norm = 1;
        self.shape().values() + (self.transformer.d_model * (embeddings + heads + norm)) as u64
    }

    /// Checks that all settings are ones that an engine computes.
    ///
    /// # Errors
    /// The first setting that is not.
    pub(crate) fn supported(&self) -> Result<(), LoadError> {
        let t = &self.transformer;
        let wrong = [
            (!t.causal, "causal = false"),
            (!t.norm_first, "norm_first = false"),
            (t.bias_ff, "bias_ff = true"),
            (t.bias_attn, "bias_attn = true"),
            (t.layer_scale.is_some(), "layer_scale"),
            (t.use_conv_block, "use_conv_block = true"),
            (t.kv_repeat != 1, "kv_repeat other than 1"),
            (t.gating.as_deref() != Some("silu"), "gating other than \"silu\""),
            (t.norm != "RmsNorm", "norm other than \"RmsNorm\""),
            (
                t.positional_embedding != "Rope",
                "positional_embedding other than \"Rope\"",
            ),
        ];
        match wrong.iter().find(|(is, _)| *is) {
            Some((_, what)) => Err(LoadError::Config(format!(
                "model.transformer: {what} is not supported; no published speech-to-text checkpoint uses it"
            ))),
            None => Ok(()),
        }
    }
}

impl TransformerConfig {
    /// Returns the width of the gated hidden layer, as Kyutai's configurations imply it: 11/4 of the width where
    /// `dim_feedforward` is written as four times it, two thirds of `dim_feedforward` otherwise.
    pub(crate) fn gated_width(&self) -> usize {
        if self.dim_feedforward == 4 * self.d_model {
            11 * self.d_model / 4
        } else {
            2 * self.dim_feedforward / 3
        }
    }
}

// Vocabularies end with the token that only ever stands before a stream's first.
fn last(vocabulary: usize, key: &str) -> Result<u32, LoadError> {
    let last = vocabulary.checked_sub(1).and_then(|n| u32::try_from(n).ok());
    last.ok_or_else(|| LoadError::Config(format!("{key} is {vocabulary}, which is no vocabulary size")))
}
