//! The language model of a speaking row on a CPU: text and codes of the last step in, the text logits and a hidden vector
//! for the depformer out.

use std::sync::Arc;

use super::backbone::Backbone;
use super::cross_attention::CrossAttention;
use super::embedding::{Embedding, gathered_format};
use super::formats::Formats;
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use super::linear::matrix;
use super::voices::Voices;
use crate::model::ModelError;
use crate::model::error::LoadError;
use crate::model::layout::speech::VOICE_PLACES;
use crate::model::tts::codes::{Delays, RowCodes};
use crate::model::tts::conditions::Conditions;
use crate::model::tts::config::TtsConfig;
use crate::model::tts::machine::TextInput;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;
use crate::stream::voice::Voice;

/// What one row puts in.
pub(crate) struct Input<'a> {
    pub(crate) row: RowId,
    /// Steps that the row has made.
    pub(crate) step: u64,
    pub(crate) text: TextInput,
    pub(crate) codes: &'a RowCodes,
}

/// Weights and per-row state.
pub(crate) struct SpeechModel {
    text_embedding: Embedding,
    audio_embeddings: Vec<Matrix>,
    conditions: Conditions,
    backbone: Backbone,
    /// In models that take a voice.
    cross: Option<(CrossAttention, Voices)>,
    delays: Delays,
    /// Sum of each row's conditions, `[row][dim]`.
    condition: Vec<f32>,
    text: Vec<TextInput>,
    x: Vec<f32>,
}

impl SpeechModel {
    /// Loads the language model of `config` with state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or the kernels do not take the shape.
    pub(crate) fn load(
        w: &Weights,
        config: &TtsConfig,
        rows: usize,
        formats: Formats,
        pool: &mut Pool,
    ) -> Result<Self, LoadError> {
        let lm = &config.lm;
        let (shape, (text, audio)) = (lm.shape(), lm.embeddings());
        let gathered = gathered_format(formats.weights);
        let d = shape.dim;
        let cross = match lm.voice() {
            Some((name, _)) => {
                let (steps, layouts) = (config.voice_steps, lm.cross_attention());
                let places = VOICE_PLACES * steps;
                let mut cross = CrossAttention::load(w, &layouts, &shape, places, rows, formats)?;
                let layout = lm.conditioners[name].layout(name, d);
                let fuser = &lm.fuser;
                let positions = match fuser.cross_attention_pos_emb {
                    true => fuser.cross_attention_pos_emb_scale.unwrap_or(1.0),
                    false => 0.0,
                };
                let kept = config.kept_voices;
                let voices = Voices::load(w, &layout, positions, steps, kept, pool, &cross)?;
                (0..rows).for_each(|row| cross.set_voice(RowId(row as u16), voices.nobody()));
                Some((cross, voices))
            }
            None => None,
        };
        let conditions = Conditions::load(w, lm)?;
        Ok(Self {
            text_embedding: Embedding::load(w, &text, rows, formats.weights)?,
            audio_embeddings: audio
                .iter()
                .map(|table| matrix(w, table, gathered))
                .collect::<Result<_, _>>()?,
            conditions,
            backbone: Backbone::load(w, shape, &lm.text_head(), rows, formats)?,
            cross,
            delays: config.delays(),
            condition: vec![0.0; rows * d],
            text: Vec::with_capacity(rows),
            x: vec![0.0; rows * d],
        })
    }

    /// Returns `row` to the start of a stream, without a voice.
    pub(crate) fn reset_row(&mut self, row: RowId) {
        let Self {
            text_embedding: _,
            audio_embeddings: _,
            conditions: _,
            backbone,
            cross,
            delays: _,
            condition: _,
            text: _,
            x: _,
        } = self;
        backbone.reset_row(row);
        if let Some((cross, voices)) = cross {
            cross.set_voice(row, voices.nobody());
        }
    }

    /// Sets the strength of guidance of `row`.
    pub(crate) fn set_guidance(&mut self, row: RowId, guidance: Option<f32>) {
        let d = self.backbone.width();
        self.conditions
            .write(guidance, &mut self.condition[row.index() * d..][..d]);
    }

    /// Sets the voice of `row`.
    ///
    /// # Errors
    /// The model takes no voice, or one of another shape.
    pub(crate) fn set_voice(
        &mut self,
        pool: &mut Pool,
        row: RowId,
        voice: &Arc<Voice>,
    ) -> Result<(), ModelError> {
        let Some((cross, voices)) = &mut self.cross else {
            return Err(ModelError(
                "this model speaks in one voice and takes no other".to_owned(),
            ));
        };
        let keys = voices.keys(pool, cross, voice)?;
        cross.set_voice(row, keys);
        Ok(())
    }

    /// Computes one step of each of `rows`, which put in `inputs` in the same order.
    pub(crate) fn step<'a>(
        &mut self,
        pool: &mut Pool,
        rows: &[RowId],
        inputs: impl Iterator<Item = Input<'a>>,
    ) {
        let d = self.backbone.width();
        self.text.clear();
        for (input, x) in inputs.zip(self.x.chunks_exact_mut(d)) {
            x.copy_from_slice(&self.condition[input.row.index() * d..][..d]);
            for (book, embedding) in self.audio_embeddings.iter().enumerate() {
                if let Some(code) = input.codes.input(&self.delays, input.step, book) {
                    embedding.add_row_to(code as usize, x);
                }
            }
            self.text.push(input.text);
        }
        let x = &mut self.x[..rows.len() * d];
        self.text_embedding.add_text(pool, &self.text, x);
        let cross = self.cross.as_mut().map(|(cross, _)| cross);
        self.backbone.forward(pool, rows, x, cross);
    }

    /// Returns the last step's text logits of each row, in the order of its rows.
    pub(crate) fn logits(&self) -> impl Iterator<Item = &[f32]> {
        self.backbone.logits()
    }

    /// Returns the last step's hidden vector of the row at `at`.
    pub(crate) fn hidden(&self, at: usize) -> &[f32] {
        let d = self.backbone.width();
        &self.backbone.hidden()[at * d..][..d]
    }
}
