//! SEANet, the convolutional encoder: 24 kHz samples to latents at 25 Hz.

use super::config::MimiConfig;
use super::conv::{ConvShape, Padding, StreamConv};
use crate::model::cpu::gemm::{Layout, Write};
use crate::model::cpu::pool::Pool;
use crate::model::cpu::{SyncPtr, Unary, unary, unary_in_place};
use crate::model::error::LoadError;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// Rows computed together: enough to reuse the large late weights, few enough for the wide early layers to stay in cache.
pub(crate) const GROUP: usize = 8;

struct Residual {
    narrow: StreamConv,
    widen: StreamConv,
}

struct Stage {
    residuals: Vec<Residual>,
    down: StreamConv,
}

/// The encoder's convolutions.
pub(crate) struct Seanet {
    first: StreamConv,
    stages: Vec<Stage>,
    last: StreamConv,
    /// Two buffers between stages, `[group][steps × channels]`.
    trunk: Vec<f32>,
    next: Vec<f32>,
}

impl Seanet {
    /// Loads `encoder.model.*`.
    pub(crate) fn load(w: &Weights, config: &MimiConfig, rows: usize) -> Result<Self, LoadError> {
        let c = &config.seanet;
        let group = rows.min(GROUP);
        let conv = |index: &str, shape| {
            let name = format!("encoder.model.{index}.conv.conv");
            StreamConv::load(w, &name, shape, (Padding::Zeros, true), (rows, group))
        };
        let mut steps = config.frame_samples();
        let mut channels = c.n_filters;
        let first = ConvShape {
            input: 1,
            output: channels,
            kernel: c.kernel_size,
            stride: 1,
            steps,
        };
        let first = conv("0", first)?;
        let (mut index, mut widest) = (1, steps * channels);
        let mut stages = Vec::new();
        for stride in c.ratios.iter().rev().copied() {
            let mut residuals = Vec::new();
            for _ in 0..c.n_residual_layers {
                let narrow = channels / c.compress;
                let (k, name) = (c.residual_kernel_size, format!("{index}.block"));
                let a = ConvShape {
                    input: channels,
                    output: narrow,
                    kernel: k,
                    stride: 1,
                    steps,
                };
                let b = ConvShape {
                    input: narrow,
                    output: channels,
                    kernel: 1,
                    stride: 1,
                    steps,
                };
                residuals.push(Residual {
                    narrow: conv(&format!("{name}.1"), a)?,
                    widen: conv(&format!("{name}.3"), b)?,
                });
                index += 1;
            }
            let shape = ConvShape {
                input: channels,
                output: 2 * channels,
                kernel: 2 * stride,
                stride,
                steps,
            };
            let down = conv(&(index + 1).to_string(), shape)?;
            index += 2;
            stages.push(Stage { residuals, down });
            (steps, channels) = (steps / stride, channels * 2);
            widest = widest.max(steps * channels);
        }
        let last = ConvShape {
            input: channels,
            output: config.dimension,
            kernel: c.last_kernel_size,
            stride: 1,
            steps,
        };
        Ok(Self {
            first,
            stages,
            last: conv(&(index + 1).to_string(), last)?,
            trunk: vec![0.0; group * widest],
            next: vec![0.0; group * widest],
        })
    }

    /// Encodes one frame of each of `rows` (at most [`GROUP`]): `pcm` is `rows × samples`, `out` `rows × 2 × dimension`.
    pub(crate) fn forward(&mut self, pool: &mut Pool, rows: &[RowId], pcm: &[f32], out: &mut [f32]) {
        let samples = pcm.len() / rows.len().max(1);
        for (slot, pcm) in pcm.chunks_exact(samples).enumerate() {
            self.first.input(slot).copy_from_slice(pcm);
        }
        let Self {
            first,
            stages,
            last,
            trunk,
            next,
        } = self;
        first.forward(pool, rows, trunk, Layout::dense(first.channels_out()), Write::Set);
        for Stage { residuals, down } in stages {
            for Residual { narrow, widen } in residuals {
                elu_into(pool, rows.len(), trunk, narrow);
                let (windows, layout) = widen.inlet();
                narrow.forward(pool, rows, windows, layout, Write::Set);
                (0..rows.len()).for_each(|slot| unary_in_place(Unary::Elu, widen.input(slot)));
                widen.forward(pool, rows, trunk, Layout::dense(widen.channels_out()), Write::Add);
            }
            elu_into(pool, rows.len(), trunk, down);
            down.forward(pool, rows, next, Layout::dense(down.channels_out()), Write::Set);
            std::mem::swap(trunk, next);
        }
        elu_into(pool, rows.len(), trunk, last);
        last.forward(pool, rows, out, Layout::dense(last.channels_out()), Write::Set);
    }

    pub(crate) fn reset_row(&mut self, row: RowId) {
        let Self {
            first,
            stages,
            last,
            trunk: _,
            next: _,
        } = self;
        first.reset_row(row);
        for Stage { residuals, down } in stages {
            for Residual { narrow, widen } in residuals {
                narrow.reset_row(row);
                widen.reset_row(row);
            }
            down.reset_row(row);
        }
        last.reset_row(row);
    }
}

/// Values one task activates.
const PIECE: usize = 8 * 1024;

// conv's input = ELU(trunk), row by row.
fn elu_into(pool: &mut Pool, rows: usize, trunk: &[f32], conv: &mut StreamConv) {
    let width = conv.input(0).len();
    let (windows, layout) = conv.inlet();
    assert!(rows * width <= trunk.len() && layout.base + (rows - 1) * layout.outer + width <= windows.len());
    let (pieces, windows) = (width.div_ceil(PIECE), SyncPtr(windows.as_mut_ptr()));
    let task = |i: usize| {
        let (slot, from) = (i / pieces, i % pieces * PIECE);
        let len = PIECE.min(width - from);
        // SAFETY: within the windows by the assertion; pieces do not overlap.
        let to = unsafe { windows.slice(layout.base + slot * layout.outer + from, len) };
        unary(Unary::Elu, &trunk[slot * width + from..][..len], to);
    };
    if rows * width < 4 * PIECE {
        (0..rows * pieces).for_each(task)
    } else {
        pool.run(rows * pieces, &task)
    }
}
