//! The language model of a speaking checkpoint, as the checkpoint's `config.json` describes it.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::conditioners::{Fuser, GUIDANCE, SpeechConditioner};
use super::cross_attention::CrossAttentionLayout;
use super::depformer::DepformerConfig;
use super::embedding::EmbeddingLayout;
use super::lm::{TEXT_HEAD, TRANSFORMER, audio_embedding};
use super::transformer::{Feed, MatrixLayout, Shape};
use crate::model::error::LoadError;

/// Voices that a model can attend to at once.
pub(crate) const VOICE_PLACES: usize = 5;

/// Sizes of the language model and of its depformer, as in Kyutai's PyTorch configurations.
#[derive(Clone, Debug, Deserialize)]
pub struct SpeechLm {
    /// Codes per codebook.
    pub card: usize,
    pub n_q: usize,
    /// Codebooks that the depformer chooses.
    pub dep_q: usize,
    /// Steps by which each stream is late: the text, then the codebooks.
    pub delays: Vec<u32>,
    pub text_card: usize,
    pub text_card_out: Option<usize>,
    pub dim: usize,
    pub num_heads: usize,
    pub num_layers: usize,
    pub hidden_scale: f64,
    pub context: usize,
    pub max_period: f64,
    pub gating: String,
    pub norm: String,
    pub positional_embedding: String,
    #[serde(default)]
    pub causal: bool,
    pub layer_scale: Option<f64>,
    pub depformer_dim: usize,
    pub depformer_num_heads: usize,
    pub depformer_num_layers: usize,
    pub depformer_dim_feedforward: Option<usize>,
    #[serde(default)]
    pub depformer_multi_linear: bool,
    #[serde(default)]
    pub depformer_weights_per_step: bool,
    pub depformer_weights_per_step_schedule: Option<Vec<usize>>,
    pub depformer_low_rank_embeddings: Option<usize>,
    pub depformer_pos_emb: String,
    #[serde(default, alias = "demux_second_text_stream")]
    pub demux_second_stream: bool,
    #[serde(default)]
    pub cross_attention: bool,
    #[serde(default)]
    pub conditioners: BTreeMap<String, SpeechConditioner>,
    #[serde(default)]
    pub fuser: Fuser,
}

impl SpeechLm {
    /// Returns the shape of the transformer.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            dim: self.dim,
            heads: self.num_heads,
            layers: self.num_layers,
            hidden: gated_width((self.hidden_scale * self.dim as f64) as usize, self.dim),
            feed: Feed::SwiGlu,
            context: self.context,
            max_period: self.max_period,
            layer_scale: false,
            tokens: 1,
        }
    }

    /// Returns the sizes of the depformer.
    pub(crate) fn depformer(&self) -> DepformerConfig {
        let dim = self.depformer_dim;
        let wide = (self.hidden_scale * dim as f64) as usize;
        DepformerConfig {
            dim,
            heads: self.depformer_num_heads,
            layers: self.depformer_num_layers,
            hidden: gated_width(self.depformer_dim_feedforward.unwrap_or(wide), dim),
            schedule: match &self.depformer_weights_per_step_schedule {
                Some(schedule) => schedule.clone(),
                None => (0..self.dep_q).collect(),
            },
            low_rank: self.depformer_low_rank_embeddings,
            streams: self.demux_second_stream,
            text_vocabulary: self.text_card + 1,
            codes: self.card,
            input: self.dim,
        }
    }

    /// Returns the embedding of the text, and those of the codebooks.
    pub(crate) fn embeddings(&self) -> (EmbeddingLayout, Vec<MatrixLayout>) {
        let text = EmbeddingLayout::new(
            "text_emb",
            self.text_card + 1,
            self.dim,
            None,
            self.demux_second_stream,
        );
        let audio = |i| MatrixLayout::new(audio_embedding(i), self.card + 1, self.dim);
        (text, (0..self.n_q).map(audio).collect())
    }

    /// Returns the head that gives the text logits.
    pub(crate) fn text_head(&self) -> MatrixLayout {
        let tokens = self.text_card_out.unwrap_or(self.text_card);
        MatrixLayout::new(TEXT_HEAD.to_owned(), tokens, self.dim)
    }

    /// Returns the cross attention of each layer; empty where the checkpoint has none.
    pub(crate) fn cross_attention(&self) -> Vec<CrossAttentionLayout> {
        let layers = if self.cross_attention { self.num_layers } else { 0 };
        let layer = |index| CrossAttentionLayout::new(TRANSFORMER, index, self.dim);
        (0..layers).map(layer).collect()
    }

    /// Returns the name of the condition that a voice is, and the numbers per vector of a voice. None where the checkpoint
    /// takes no voice.
    pub(crate) fn voice(&self) -> Option<(&str, usize)> {
        let name = self.fuser.cross.first()?;
        match self.conditioners.get(name)? {
            SpeechConditioner::Tensor { tensor } if self.cross_attention => Some((name, tensor.dim)),
            _ => None,
        }
    }

    /// Returns the strengths of guidance that the checkpoint has learnt, as it spells them. Empty where it has none.
    #[must_use]
    pub fn guidance(&self) -> &[String] {
        match self.conditioners.get(GUIDANCE) {
            Some(SpeechConditioner::Lut { lut }) if self.fuser.sum.iter().any(|name| name == GUIDANCE) => {
                &lut.possible_values
            }
            _ => &[],
        }
    }

    /// Returns the steps by which the codebooks are late.
    pub(crate) fn audio_delays(&self) -> &[u32] {
        self.delays.get(1..).unwrap_or_default()
    }

    /// Returns how many values the weights have, those of conditioners left out.
    pub(crate) fn values(&self) -> u64 {
        let (text, audio) = self.embeddings();
        let cross = self
            .cross_attention()
            .iter()
            .map(CrossAttentionLayout::values)
            .sum::<u64>();
        let audio = audio.iter().map(MatrixLayout::values).sum::<u64>();
        let language = self.shape().values() + text.values() + audio + self.text_head().values();
        language + self.dim as u64 + cross + self.depformer().values()
    }

    /// Checks that all settings are ones that an engine computes.
    ///
    /// # Errors
    /// The first setting that is not.
    pub(crate) fn supported(&self) -> Result<(), LoadError> {
        let schedule = self.depformer_weights_per_step_schedule.as_ref();
        let sums_of_values = self.fuser.sum.iter().all(|name| {
            let conditioner = self.conditioners.get(name);
            matches!(conditioner, Some(SpeechConditioner::Lut { .. }))
        });
        let wrong = [
            (!self.causal, "causal = false"),
            (self.layer_scale.is_some(), "layer_scale"),
            (self.gating != "silu", "gating other than \"silu\""),
            (self.norm != "rms_norm_f32", "norm other than \"rms_norm_f32\""),
            (
                self.positional_embedding != "rope",
                "positional_embedding other than \"rope\"",
            ),
            (
                self.depformer_pos_emb != "none",
                "depformer_pos_emb other than \"none\"",
            ),
            (!self.depformer_multi_linear, "depformer_multi_linear = false"),
            (
                !self.depformer_weights_per_step,
                "depformer_weights_per_step = false",
            ),
            (
                self.n_q != self.dep_q || self.dep_q < 2,
                "n_q other than dep_q, or less than 2",
            ),
            (
                self.delays.len() != self.n_q + 1,
                "delays of other streams than text and codebooks",
            ),
            (self.delays.first() != Some(&0), "text that is late"),
            (
                schedule.is_some_and(|s| s.len() != self.dep_q),
                "a depformer schedule of other length than dep_q",
            ),
            (self.text_head().rows <= 3, "text_card_out less than 4"),
            (!self.fuser.prepend.is_empty(), "fuser.prepend"),
            (!sums_of_values, "fuser.sum of conditions that are no look-ups"),
            (self.fuser.cross.len() > 1, "fuser.cross of several conditions"),
            (
                self.cross_attention && self.voice().is_none(),
                "cross_attention without a voice in fuser.cross",
            ),
        ];
        match wrong.iter().find(|(is, _)| *is) {
            Some((_, what)) => Err(LoadError::Config(format!(
                "config.json: {what} is not supported; no published text-to-speech checkpoint uses it"
            ))),
            None => Ok(()),
        }
    }
}

// As Kyutai's Python library makes it of the width that a configuration states.
fn gated_width(stated: usize, dim: usize) -> usize {
    if stated == 4 * dim {
        21 * dim / 8
    } else {
        2 * stated / 3
    }
}
