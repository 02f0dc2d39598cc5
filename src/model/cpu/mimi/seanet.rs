//! SEANet, the convolutional encoder: 24 kHz samples to latents at 25 Hz.

use super::conv::StreamConv;
use crate::model::cpu::kernels::gemm::{Layout, Write};
use crate::model::cpu::kernels::pool::Pool;
use crate::model::cpu::kernels::strips::{StripLayout, Strips};
use crate::model::cpu::kernels::{Unary, unary, unary_in_place};
use crate::model::error::LoadError;
use crate::model::layout::conv::ConvLayout;
use crate::model::layout::memory::CPU_CONV_GROUP;
use crate::model::layout::mimi::MimiConfig;
use crate::model::layout::seanet::{LevelLayout, ResidualLayout, SeanetLayout};
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

struct Residual {
    narrow: StreamConv,
    widen: StreamConv,
}

/// Residual blocks at one rate, and the convolution to the next.
struct Level {
    residuals: Vec<Residual>,
    down: StreamConv,
}

/// The encoder's convolutions.
pub(super) struct Seanet {
    first: StreamConv,
    levels: Vec<Level>,
    last: StreamConv,
    /// Two buffers between levels, `[group][steps × channels]`.
    trunk: Vec<f32>,
    next: Vec<f32>,
}

impl Seanet {
    /// Loads `encoder.model.*`, with state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn load(w: &Weights, config: &MimiConfig, rows: usize) -> Result<Self, LoadError> {
        let layout = SeanetLayout::encoder(config);
        let group = rows.min(CPU_CONV_GROUP);
        let conv = |layout: &ConvLayout| StreamConv::load(w, layout, rows, group);
        let residual = |r: &ResidualLayout| {
            Ok(Residual {
                narrow: conv(&r.narrow)?,
                widen: conv(&r.widen)?,
            })
        };
        let level = |level: &LevelLayout| {
            let residuals = level.residuals.iter().map(residual);
            Ok(Level {
                residuals: residuals.collect::<Result<_, LoadError>>()?,
                down: conv(&level.down)?,
            })
        };
        let levels = layout.levels.iter().map(level);
        let widest = group * layout.widest();
        Ok(Self {
            first: conv(&layout.first)?,
            levels: levels.collect::<Result<_, LoadError>>()?,
            last: conv(&layout.last)?,
            trunk: vec![0.0; widest],
            next: vec![0.0; widest],
        })
    }

    /// Encodes one frame of each of `rows` (at most [`CPU_CONV_GROUP`]): `pcm` is `rows × samples`, `out` gets
    /// `rows × 2 × dimension`.
    pub(super) fn forward(&mut self, pool: &mut Pool, rows: &[RowId], pcm: &[f32], out: &mut [f32]) {
        let samples = pcm.len() / rows.len().max(1);
        for (slot, pcm) in pcm.chunks_exact(samples).enumerate() {
            self.first.input(slot).copy_from_slice(pcm);
        }
        let Self {
            first,
            levels,
            last,
            trunk,
            next,
        } = self;
        first.forward(pool, rows, trunk, Layout::dense(first.channels_out()), Write::Set);
        for Level { residuals, down } in levels {
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

    /// Returns `row` to the start of a stream.
    pub(super) fn reset_row(&mut self, row: RowId) {
        let Self {
            first,
            levels,
            last,
            trunk: _,
            next: _,
        } = self;
        first.reset_row(row);
        for Level { residuals, down } in levels {
            for Residual { narrow, widen } in residuals {
                narrow.reset_row(row);
                widen.reset_row(row);
            }
            down.reset_row(row);
        }
        last.reset_row(row);
    }
}

/// Values that one task activates.
const PIECE: usize = 8 * 1024;

// conv's input = ELU(trunk), row by row.
fn elu_into(pool: &mut Pool, rows: usize, trunk: &[f32], conv: &mut StreamConv) {
    let width = conv.input(0).len();
    let (windows, layout) = conv.inlet();
    // A task is a piece of one row's input; the last piece is shorter.
    let inputs = StripLayout {
        base: layout.base,
        group_stride: layout.group_stride,
        width,
        len: PIECE,
        pieces: 1,
        piece_stride: width,
    };
    let pieces = inputs.tasks();
    let tasks = rows * pieces;
    let windows = Strips::new(windows, inputs, tasks);
    let parallel = rows * width >= 4 * PIECE;
    pool.run_strips(tasks, parallel, [windows], &|i, [mut to]| {
        let to = to.piece(0);
        let from = i / pieces * width + i % pieces * PIECE;
        unary(Unary::Elu, &trunk[from..][..to.len()], to);
    });
}
