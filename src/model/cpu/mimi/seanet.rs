//! SEANet, the convolutions between 24 kHz samples and steps at 25 Hz, in either direction.

use super::conv::StreamConv;
use crate::model::cpu::kernels::gemm::{Layout, Write};
use crate::model::cpu::kernels::pool::Pool;
use crate::model::cpu::kernels::strips::{StripLayout, Strips};
use crate::model::cpu::kernels::{Unary, unary, unary_in_place};
use crate::model::error::LoadError;
use crate::model::layout::conv::ConvLayout;
use crate::model::layout::memory::CPU_CONV_GROUP;
use crate::model::layout::seanet::{BlockLayout, SeanetLayout};
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

#[expect(clippy::large_enum_variant, reason = "a model has some eight of them")]
enum Block {
    Residual { narrow: StreamConv, widen: StreamConv },
    Resample(StreamConv),
}

/// The convolutions of the encoder or of the decoder.
pub(super) struct Seanet {
    first: StreamConv,
    blocks: Vec<Block>,
    last: StreamConv,
    /// Two buffers between rates, `[group][steps × channels]`.
    trunk: Vec<f32>,
    next: Vec<f32>,
}

impl Seanet {
    /// Loads the convolutions of `layout`, with state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn load(w: &Weights, layout: &SeanetLayout, rows: usize) -> Result<Self, LoadError> {
        let group = rows.min(CPU_CONV_GROUP);
        let conv = |layout: &ConvLayout| StreamConv::load(w, layout, rows, group);
        let block = |block: &BlockLayout| {
            Ok(match block {
                BlockLayout::Residual { narrow, widen } => Block::Residual {
                    narrow: conv(narrow)?,
                    widen: conv(widen)?,
                },
                BlockLayout::Resample(layout) => Block::Resample(conv(layout)?),
            })
        };
        let blocks = layout.blocks.iter().map(block);
        let widest = group * layout.widest();
        Ok(Self {
            first: conv(&layout.first)?,
            blocks: blocks.collect::<Result<_, LoadError>>()?,
            last: conv(&layout.last)?,
            trunk: vec![0.0; widest],
            next: vec![0.0; widest],
        })
    }

    /// Computes one frame of each of `rows` (at most [`CPU_CONV_GROUP`]) from `x`, row after row, into `out`.
    pub(super) fn forward(&mut self, pool: &mut Pool, rows: &[RowId], x: &[f32], out: &mut [f32]) {
        let Self {
            first,
            blocks,
            last,
            trunk,
            next,
        } = self;
        for (slot, x) in x.chunks_exact(x.len() / rows.len().max(1)).enumerate() {
            first.input(slot).copy_from_slice(x);
        }
        first.forward(pool, rows, trunk, Layout::dense(first.step_out()), Write::Set);
        for block in blocks {
            match block {
                Block::Residual { narrow, widen } => {
                    elu_into(pool, rows.len(), trunk, narrow);
                    let (windows, layout) = widen.inlet();
                    narrow.forward(pool, rows, windows, layout, Write::Set);
                    (0..rows.len()).for_each(|slot| unary_in_place(Unary::Elu, widen.input(slot)));
                    widen.forward(pool, rows, trunk, Layout::dense(widen.step_out()), Write::Add);
                }
                Block::Resample(conv) => {
                    elu_into(pool, rows.len(), trunk, conv);
                    conv.forward(pool, rows, next, Layout::dense(conv.step_out()), Write::Set);
                    std::mem::swap(trunk, next);
                }
            }
        }
        elu_into(pool, rows.len(), trunk, last);
        last.forward(pool, rows, out, Layout::dense(last.step_out()), Write::Set);
    }

    /// Returns `row` to the start of a stream.
    pub(super) fn reset_row(&mut self, row: RowId) {
        let Self {
            first,
            blocks,
            last,
            trunk: _,
            next: _,
        } = self;
        first.reset_row(row);
        for block in blocks {
            match block {
                Block::Residual { narrow, widen } => {
                    narrow.reset_row(row);
                    widen.reset_row(row);
                }
                Block::Resample(conv) => conv.reset_row(row),
            }
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
