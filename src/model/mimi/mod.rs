//! Mimi's encoder: 24 kHz audio to 12.5 frames of codes a second, streaming, batched by row.
//!
//! Described in the Moshi paper (arXiv:2410.00037); tensor names and shapes are those of the published checkpoints.

pub mod config;
pub(crate) mod conv;
mod quantizer;
mod seanet;

use config::MimiConfig;
use conv::{ConvShape, Padding, StreamConv};
use quantizer::Quantizer;
use seanet::{GROUP, Seanet};

use super::cpu::gemm::{Layout, Write};
use super::cpu::pool::Pool;
use super::error::LoadError;
use super::kv_cache::CacheFormat;
use super::transformer::{Feed, Shape, Transformer};
use super::weights::Weights;
use crate::stream::ids::RowId;

/// Encoder steps (25 Hz) in one frame.
const STEPS: usize = 2;
const SLACK: usize = 32;

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
    /// Loads the encoder half of a Mimi checkpoint, using its first `codebooks` codebooks.
    pub(crate) fn load(
        w: &Weights,
        config: &MimiConfig,
        codebooks: usize,
        rows: usize,
    ) -> Result<Self, LoadError> {
        let (d, t) = (config.dimension, &config.transformer);
        let shape = Shape {
            dim: d,
            heads: t.num_heads,
            layers: t.num_layers,
            hidden: t.dim_feedforward,
            feed: Feed::Gelu,
            context: t.context,
            max_period: t.max_period,
            layer_scale: t.layer_scale,
            tokens: STEPS,
        };
        let down = ConvShape {
            input: d,
            output: d,
            kernel: 2 * STEPS,
            stride: STEPS,
            steps: STEPS,
        };
        Ok(Self {
            seanet: Seanet::load(w, config, rows)?,
            transformer: Transformer::load(
                w,
                "encoder_transformer.transformer",
                shape,
                rows,
                (None, CacheFormat::F32),
            )?,
            downsample: StreamConv::load(
                w,
                "downsample.conv.conv.conv",
                down,
                (Padding::Replicate, false),
                (rows, rows),
            )?,
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

    /// The latents that `encode` quantises, `rows × dimension`.
    pub(crate) fn latents(&mut self, pool: &mut Pool, rows: &[RowId], pcm: &[f32]) -> &[f32] {
        let d = self.dimension;
        for (i, group) in rows.chunks(GROUP).enumerate() {
            let pcm = &pcm[i * GROUP * self.frame..][..group.len() * self.frame];
            let out = &mut self.steps[i * GROUP * STEPS * d..][..group.len() * STEPS * d];
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
