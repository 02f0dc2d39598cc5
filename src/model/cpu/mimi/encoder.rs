//! Mimi's encoder: 24 kHz audio to 12.5 frames of codes per second, streaming, batched by row.

use super::conv::StreamConv;
use super::quantizer::Quantizer;
use super::seanet::Seanet;
use crate::model::cpu::formats::Formats;
use crate::model::cpu::kernels::gemm::{Layout, Write};
use crate::model::cpu::kernels::pool::Pool;
use crate::model::cpu::linear::SLACK;
use crate::model::cpu::transformer::Transformer;
use crate::model::error::LoadError;
use crate::model::layout::dtype::Real;
use crate::model::layout::memory::CPU_CONV_GROUP;
use crate::model::layout::mimi::{ENCODER_TRANSFORMER, MimiConfig, STEPS};
use crate::model::layout::seanet::SeanetLayout;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// The codec's formats: its weights as the file holds them (f32), f32 keys and values.
pub(super) const FORMATS: Formats = Formats {
    weights: None,
    cache: Real::F32,
};

/// The streaming encoder with state for every row.
pub(crate) struct MimiEncoder {
    seanet: Seanet,
    transformer: Transformer,
    downsample: StreamConv,
    quantizer: Quantizer,
    dimension: usize,
    frame: usize,
    /// `[row][2 × dimension]`
    steps: Vec<f32>,
    /// `[row][dimension]`
    latents: Vec<f32>,
}

impl MimiEncoder {
    /// Loads the encoder half of a Mimi checkpoint, with its first `codebooks` codebooks and state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or the kernels do not take a shape.
    pub(crate) fn load(
        w: &Weights,
        config: &MimiConfig,
        codebooks: usize,
        rows: usize,
    ) -> Result<Self, LoadError> {
        let d = config.dimension;
        Ok(Self {
            seanet: Seanet::load(w, &SeanetLayout::encoder(config), rows)?,
            transformer: Transformer::load(
                w,
                ENCODER_TRANSFORMER,
                config.transformer_shape(),
                rows,
                FORMATS,
            )?,
            downsample: StreamConv::load(w, &config.downsample(), rows, rows)?,
            quantizer: Quantizer::load(w, config, codebooks)?,
            dimension: d,
            frame: config.frame_samples(),
            steps: vec![0.0; rows * STEPS * d],
            latents: vec![0.0; rows * d + SLACK],
        })
    }

    /// Encodes one frame of each of `rows`: `pcm` is `rows × samples`, `codes` gets `rows × codebooks`.
    pub(crate) fn encode(&mut self, pool: &mut Pool, rows: &[RowId], pcm: &[f32], codes: &mut [u32]) {
        self.latents(pool, rows, pcm);
        self.quantizer
            .encode(pool, rows.len(), &self.latents, self.dimension, codes);
    }

    /// Computes the latents that `encode` quantises, `rows × dimension`.
    pub(crate) fn latents(&mut self, pool: &mut Pool, rows: &[RowId], pcm: &[f32]) -> &[f32] {
        let (d, frame) = (self.dimension, self.frame);
        for (i, group) in rows.chunks(CPU_CONV_GROUP).enumerate() {
            let from = i * CPU_CONV_GROUP;
            let pcm = &pcm[from * frame..][..group.len() * frame];
            let out = &mut self.steps[from * STEPS * d..][..group.len() * STEPS * d];
            self.seanet.forward(pool, group, pcm, out);
        }
        let steps = &mut self.steps[..rows.len() * STEPS * d];
        self.transformer.forward(pool, rows, steps);
        for (slot, steps) in steps.chunks_exact(STEPS * d).enumerate() {
            self.downsample.input(slot).copy_from_slice(steps);
        }
        self.downsample
            .forward(pool, rows, &mut self.latents, Layout::dense(d), Write::Set);
        &self.latents[..rows.len() * d]
    }

    /// Returns `row` to the start of a stream.
    pub(crate) fn reset_row(&mut self, row: RowId) {
        let Self {
            seanet,
            transformer,
            downsample,
            quantizer: _,
            dimension: _,
            frame: _,
            steps: _,
            latents: _,
        } = self;
        seanet.reset_row(row);
        transformer.reset_row(row);
        downsample.reset_row(row);
    }
}
