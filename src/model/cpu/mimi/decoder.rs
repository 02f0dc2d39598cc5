//! Mimi's decoder: 12.5 frames of codes per second to 24 kHz audio, streaming, batched by row.

use super::dequantizer::Dequantizer;
use super::encoder::FORMATS;
use super::seanet::Seanet;
use super::upsample::Upsample;
use crate::model::ModelError;
use crate::model::cpu::kernels::pool::Pool;
use crate::model::cpu::transformer::Transformer;
use crate::model::error::LoadError;
use crate::model::layout::memory::CPU_CONV_GROUP;
use crate::model::layout::mimi::{DECODER_TRANSFORMER, MimiConfig, STEPS};
use crate::model::layout::quantizer::ABSENT;
use crate::model::layout::seanet::SeanetLayout;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// The streaming decoder with state for every row.
pub(crate) struct MimiDecoder {
    dequantizer: Dequantizer,
    upsample: Upsample,
    transformer: Transformer,
    seanet: Seanet,
    rows: usize,
    dimension: usize,
    frame: usize,
    /// `[row][dimension]`
    latents: Vec<f32>,
    /// `[row][2 × dimension]`
    steps: Vec<f32>,
}

impl MimiDecoder {
    /// Loads the decoder half of a Mimi checkpoint, with its first `codebooks` codebooks and state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or the kernels do not take a shape.
    pub(crate) fn load(
        w: &Weights,
        config: &MimiConfig,
        codebooks: usize,
        rows: usize,
    ) -> Result<Self, LoadError> {
        let (d, shape) = (config.dimension, config.transformer_shape());
        Ok(Self {
            dequantizer: Dequantizer::load(w, config, codebooks, rows)?,
            upsample: Upsample::load(w, config.upsample(), rows)?,
            transformer: Transformer::load(w, DECODER_TRANSFORMER, shape, rows, FORMATS)?,
            seanet: Seanet::load(w, &SeanetLayout::decoder(config), rows)?,
            rows,
            dimension: d,
            frame: config.frame_samples(),
            latents: vec![0.0; rows * d],
            steps: vec![0.0; rows * STEPS * d],
        })
    }

    /// Decodes one frame of each of `rows`, which are distinct: `codes` is `rows × codebooks`, [`ABSENT`] where a
    /// codebook is left out, `audio` gets
    /// `rows × samples`. Samples can lie slightly beyond [-1, 1].
    ///
    /// # Errors
    /// There is no state for a row, a code is not less than the entries of a codebook, or the lengths do not fit. No row
    /// has moved on.
    pub(crate) fn decode(
        &mut self,
        pool: &mut Pool,
        rows: &[RowId],
        codes: &[u32],
        audio: &mut [f32],
    ) -> Result<(), ModelError> {
        self.check(rows, codes, audio)?;
        let (n, d, frame) = (rows.len(), self.dimension, self.frame);
        let latents = &mut self.latents[..n * d];
        self.dequantizer.decode(pool, n, codes, latents);
        let steps = &mut self.steps[..n * STEPS * d];
        self.upsample.forward(rows, latents, steps);
        self.transformer.forward(pool, rows, steps);
        let groups = rows.chunks(CPU_CONV_GROUP);
        let steps = steps.chunks(CPU_CONV_GROUP * STEPS * d);
        let audio = audio.chunks_mut(CPU_CONV_GROUP * frame);
        for ((group, steps), audio) in groups.zip(steps).zip(audio) {
            self.seanet.forward(pool, group, steps, audio);
        }
        Ok(())
    }

    fn check(&self, rows: &[RowId], codes: &[u32], audio: &[f32]) -> Result<(), ModelError> {
        let (n, frame) = (rows.len(), self.frame);
        let (books, bins) = (self.dequantizer.codebooks(), self.dequantizer.bins());
        let known = n <= self.rows && rows.iter().all(|row| row.index() < self.rows);
        if !known || codes.len() != n * books || audio.len() != n * frame {
            return Err(ModelError(format!(
                "{} codes and {} samples for rows {rows:?} of {}, which have {books} codes and {frame} samples each",
                codes.len(),
                audio.len(),
                self.rows
            )));
        }
        let unknown = |code: &&u32| **code as usize >= bins && **code != ABSENT;
        match codes.iter().find(unknown) {
            None => Ok(()),
            Some(code) => Err(ModelError(format!(
                "code {code} is not one of the codec's {bins}"
            ))),
        }
    }

    /// Returns `row` to the start of a stream.
    pub(crate) fn reset_row(&mut self, row: RowId) {
        let Self {
            dequantizer: _,
            upsample,
            transformer,
            seanet,
            rows: _,
            dimension: _,
            frame: _,
            latents: _,
            steps: _,
        } = self;
        upsample.reset_row(row);
        transformer.reset_row(row);
        seanet.reset_row(row);
    }
}
