//! Products of activations with weights: `y[n] = W · x[n] (+ b)` for one to thousands of activation rows.
//!
//! One kernel serves linear layers (an activation row is a stream's hidden vector) and causal convolutions (an
//! activation row is a window of consecutive, channels-last samples, so windows overlap and nothing is copied).
//! Every output is one eight-lane sum over the columns in ascending order, whatever else is computed beside it:
//! a stream's result does not depend on the streams it is batched with.

use super::lanes::Products;
use super::matrix::{Data, Matrix};
use super::pool::Pool;
use super::{Isa, SyncPtr};
use crate::model::layout::dtype::Q8_BLOCK;

/// Where activation rows lie in a buffer: in groups of `group_len` rows, `group_stride` apart from `base` on, the rows of
/// a group `row_stride` apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Layout {
    pub(crate) base: usize,
    pub(crate) group_len: usize,
    pub(crate) group_stride: usize,
    pub(crate) row_stride: usize,
}

impl Layout {
    /// Returns the layout of rows one after the other, `stride` apart.
    pub(crate) fn dense(stride: usize) -> Self {
        Self {
            base: 0,
            group_len: usize::MAX,
            group_stride: 0,
            row_stride: stride,
        }
    }

    #[inline(always)]
    fn at(self, n: usize) -> usize {
        if self.group_len == usize::MAX {
            return self.base + n * self.row_stride;
        }
        self.base + n / self.group_len * self.group_stride + n % self.group_len * self.row_stride
    }

    fn end(self, rows: usize, len: usize) -> usize {
        // Starts grow within a group, so only the ends of the last two groups can bound it.
        let ends = [
            rows.checked_sub(1),
            (rows / self.group_len * self.group_len).checked_sub(1),
        ];
        ends.into_iter()
            .flatten()
            .map(|n| self.at(n) + len)
            .max()
            .unwrap_or(0)
    }
}

/// What is done with a product.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Write {
    /// `y = Wx + b`
    Set,
    /// `y += Wx + b`
    Add,
}

/// Activations to read, and where in `data` they lie.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) layout: Layout,
}

/// Activations to write, and where in `data` they lie.
pub(crate) struct Output<'a> {
    pub(crate) data: &'a mut [f32],
    pub(crate) layout: Layout,
    pub(crate) write: Write,
}

/// Bytes of activations that a task keeps hot in the second-level cache while weights stream past.
const ACTIVATION_BLOCK: usize = 128 * 1024;
/// Multiply-adds below which waking another thread costs more than it gains.
const PARALLEL_FROM: usize = 400_000;

/// Computes `rows` activation rows. `x` must be readable up to `padded_cols` for every row.
pub(crate) fn gemm(
    pool: &mut Pool,
    w: &Matrix,
    rows: usize,
    x: Input<'_>,
    bias: Option<&[f32]>,
    y: Output<'_>,
) {
    assert!(
        x.layout.end(rows, w.padded_cols()) <= x.data.len(),
        "gemm reads past its input"
    );
    assert!(
        y.layout.end(rows, w.rows) <= y.data.len(),
        "gemm writes past its output"
    );
    assert!(bias.is_none_or(|b| b.len() == w.rows), "one bias per output");
    let work = rows * w.rows * w.stride;
    let width = if work < PARALLEL_FROM { 1 } else { pool.width() };
    let block = (ACTIVATION_BLOCK / (w.stride * 4)).clamp(4, 512);
    let row_tasks = rows.div_ceil(block).max(1);
    let out_tasks = if width == 1 {
        1
    } else {
        (width * 3).div_ceil(row_tasks).min(w.rows.div_ceil(24))
    };
    let out_chunk = w.rows.div_ceil(out_tasks).next_multiple_of(24);
    let call = Call {
        w,
        x,
        bias,
        y: SyncPtr(y.data.as_mut_ptr()),
        y_layout: y.layout,
        add: y.write == Write::Add,
    };
    let isa = Isa::for_rows_of(w.stride);
    let task = |i: usize| {
        let (row, out) = (i / out_tasks * block, i % out_tasks * out_chunk);
        let area = Area {
            row,
            row_end: (row + block).min(rows),
            out,
            out_end: (out + out_chunk).min(w.rows),
        };
        // SAFETY: ranges were checked above; tasks write disjoint outputs; `isa` was detected.
        unsafe { isa.gemm(&call, area) };
    };
    let tasks = row_tasks * out_tasks;
    if width == 1 {
        (0..tasks).for_each(task)
    } else {
        pool.run(tasks, &task)
    }
}

pub(crate) struct Call<'a> {
    w: &'a Matrix,
    x: Input<'a>,
    bias: Option<&'a [f32]>,
    y: SyncPtr,
    y_layout: Layout,
    add: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Area {
    row: usize,
    row_end: usize,
    out: usize,
    out_end: usize,
}

/// Reads `WIDTH` weights of a row as f32.
trait WeightRows<L: Products>: Copy {
    unsafe fn load(self, at: usize) -> L::V;
}

#[derive(Clone, Copy)]
struct F32(*const f32);
#[derive(Clone, Copy)]
struct Bf16(*const u16);
#[derive(Clone, Copy)]
struct F16(*const u16);
#[derive(Clone, Copy)]
struct Q8(*const i8, *const f32);

// SAFETY (four impls): `at + WIDTH` lies within the matrix, by the loop bounds of `tile`.
impl<L: Products> WeightRows<L> for F32 {
    #[inline(always)]
    unsafe fn load(self, at: usize) -> L::V {
        // SAFETY: see above.
        unsafe { L::load(self.0.add(at)) }
    }
}
impl<L: Products> WeightRows<L> for Bf16 {
    #[inline(always)]
    unsafe fn load(self, at: usize) -> L::V {
        // SAFETY: see above.
        unsafe { L::load_bf16(self.0.add(at)) }
    }
}
impl<L: Products> WeightRows<L> for F16 {
    #[inline(always)]
    unsafe fn load(self, at: usize) -> L::V {
        // SAFETY: see above.
        unsafe { L::load_f16(self.0.add(at)) }
    }
}
impl<L: Products> WeightRows<L> for Q8 {
    #[inline(always)]
    unsafe fn load(self, at: usize) -> L::V {
        // SAFETY: see above; there is one scale per block.
        unsafe { L::mul(L::load_i8(self.0.add(at)), L::splat(*self.1.add(at / Q8_BLOCK))) }
    }
}

/// Computes `area` with one instruction set.
///
/// # Safety
/// `L` is available; `area` lies within the ranges `gemm` checked; no other thread writes the same outputs.
#[inline(always)]
pub(crate) unsafe fn run<L: Products>(call: &Call<'_>, area: Area) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        match &call.w.data {
            Data::F32(w) => outs::<L, F32>(F32(w.as_ptr()), call, area),
            Data::Bf16(w) => outs::<L, Bf16>(Bf16(w.as_ptr()), call, area),
            Data::F16(w) => outs::<L, F16>(F16(w.as_ptr()), call, area),
            Data::Q8 { q, scale } => outs::<L, Q8>(Q8(q.as_ptr(), scale.as_ptr()), call, area),
        }
    }
}

// Weight rows × activation rows in registers. With few activation rows more weight rows keep the multiply-add units busy.
#[inline(always)]
unsafe fn outs<L: Products, W: WeightRows<L>>(w: W, call: &Call<'_>, area: Area) {
    // SAFETY: the caller's promise, passed on.
    unsafe {
        let rows = area.row_end - area.row;
        match L::TILE[rows.clamp(1, 3) - 1] {
            8 => rows_by::<L, W, 8>(w, call, area),
            6 => rows_by::<L, W, 6>(w, call, area),
            _ => rows_by::<L, W, 3>(w, call, area),
        }
    }
}

#[inline(always)]
unsafe fn rows_by<L: Products, W: WeightRows<L>, const R: usize>(w: W, call: &Call<'_>, area: Area) {
    let mut out = area.out;
    while out < area.out_end {
        let whole = out + R <= area.out_end;
        let mut row = area.row;
        while row < area.row_end {
            let left = (area.row_end - row).min(4);
            // SAFETY: `out + R` and `row + B` stay within the area.
            unsafe {
                match (whole, left) {
                    (true, 4) if R <= L::TILE[2] => tile::<L, W, R, 4>(w, call, out, row),
                    (true, 3) if R <= L::TILE[2] => tile::<L, W, R, 3>(w, call, out, row),
                    (true, 2) if R <= L::TILE[1] => tile::<L, W, R, 2>(w, call, out, row),
                    (true, 1) => tile::<L, W, R, 1>(w, call, out, row),
                    _ => {
                        for o in out..(out + R).min(area.out_end) {
                            for r in row..row + left {
                                tile::<L, W, 1, 1>(w, call, o, r);
                            }
                        }
                    }
                }
            }
            row += left;
        }
        out += R;
    }
}

#[inline(always)]
unsafe fn tile<L: Products, W: WeightRows<L>, const R: usize, const B: usize>(
    w: W,
    call: &Call<'_>,
    out: usize,
    row: usize,
) {
    let stride = call.w.stride;
    let x = call.x.data.as_ptr();
    // SAFETY: `gemm` checked that all rows are readable to `stride` and all outputs writable.
    unsafe {
        let xs: [*const f32; B] = std::array::from_fn(|b| x.add(call.x.layout.at(row + b)));
        let mut sums = [[L::splat(0.0); B]; R];
        let mut k = 0;
        while k < stride {
            let mut ws = [L::splat(0.0); R];
            for (r, weight) in ws.iter_mut().enumerate() {
                *weight = w.load((out + r) * stride + k);
            }
            for (b, x) in xs.iter().enumerate() {
                let v = L::load(x.add(k));
                for (sums, weight) in sums.iter_mut().zip(&ws) {
                    sums[b] = L::mul_add(*weight, v, sums[b]);
                }
            }
            k += L::WIDTH;
        }
        for b in 0..B {
            let y = call.y.0.add(call.y_layout.at(row + b) + out);
            for (r, sums) in sums.iter().enumerate() {
                let value = L::sum(sums[b]) + call.bias.map_or(0.0, |bias| bias[out + r]);
                let at = y.add(r);
                *at = if call.add { *at + value } else { value };
            }
        }
    }
}

#[cfg(test)]
mod tests;
