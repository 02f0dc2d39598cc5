//! Causal streaming convolutions over batch rows.
//!
//! Audio runs channels-last, so the window of one output step is one contiguous stretch of `kernel × channels` values
//! and a convolution is a [`gemm`] over overlapping rows: nothing is unfolded, and one weight layout serves all.

use crate::model::cpu::kernels::gemm::{Input, Layout, Output, Write, gemm};
use crate::model::cpu::kernels::matrix::Matrix;
use crate::model::cpu::kernels::pool::Pool;
use crate::model::error::LoadError;
use crate::model::layout::conv::{ConvLayout, ConvShape, Padding};
use crate::model::layout::dtype::WeightFormat;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// One convolution: weights, the last `kernel - stride` input steps of every row, and windows for a group of rows.
pub(super) struct StreamConv {
    shape: ConvShape,
    padding: Padding,
    weight: Matrix,
    bias: Option<Vec<f32>>,
    /// `[row][history × input]`
    history: Vec<f32>,
    /// Rows that have not had a frame yet.
    fresh: Vec<bool>,
    /// `[group][(history + steps) × input]`, plus slack for padded reads.
    windows: Vec<f32>,
}

impl StreamConv {
    /// Loads a convolution with state for `rows` rows, of which at most `group` are computed at a time.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn load(
        w: &Weights,
        layout: &ConvLayout,
        rows: usize,
        group: usize,
    ) -> Result<Self, LoadError> {
        let shape = layout.shape;
        let ConvShape {
            input,
            output,
            kernel,
            ..
        } = shape;
        let windowed = layout.windowed(&w.conv(&layout.name, layout.stored())?);
        let weight = Matrix::new(output, kernel * input, &windowed, WeightFormat::F32);
        let slack = weight.padded_cols() - weight.cols;
        let channels = layout.channels_out();
        let bias = layout.bias_name();
        let bias = bias.map(|name| w.values(&name, &[channels])).transpose()?;
        Ok(Self {
            bias: bias.map(|bias| bias.repeat(output / channels)),
            history: vec![0.0; rows * shape.past()],
            fresh: vec![true; rows],
            windows: vec![0.0; group * shape.window() + slack],
            shape,
            padding: layout.padding,
            weight,
        })
    }

    /// Returns the values of an output step.
    pub(super) fn step_out(&self) -> usize {
        self.shape.output
    }

    /// Returns the buffer of windows, and where in it a producer writes the new input steps of each row of the group.
    pub(super) fn inlet(&mut self) -> (&mut [f32], Layout) {
        let layout = Layout {
            base: self.shape.past(),
            group_len: self.shape.steps,
            group_stride: self.shape.window(),
            row_stride: self.shape.input,
        };
        (&mut self.windows, layout)
    }

    /// Returns the new input steps of the `slot`-th row of the group, `steps × input`.
    pub(super) fn input(&mut self, slot: usize) -> &mut [f32] {
        let (history, window) = (self.shape.past(), self.shape.window());
        &mut self.windows[slot * window + history..(slot + 1) * window]
    }

    /// Convolves the inputs written for `rows` (slot `i` is `rows[i]`) into `out`.
    pub(super) fn forward(
        &mut self,
        pool: &mut Pool,
        rows: &[RowId],
        out: &mut [f32],
        layout: Layout,
        write: Write,
    ) {
        let (history, window, input) = (self.shape.past(), self.shape.window(), self.shape.input);
        for (row, slot) in rows.iter().zip(self.windows.chunks_exact_mut(window)) {
            let past = &mut self.history[row.index() * history..][..history];
            if std::mem::take(&mut self.fresh[row.index()]) && self.padding == Padding::Replicate {
                let (before, first) = slot.split_at_mut(history);
                before
                    .chunks_exact_mut(input)
                    .for_each(|step| step.copy_from_slice(&first[..input]));
            } else {
                slot[..history].copy_from_slice(past);
            }
            past.copy_from_slice(&slot[window - history..]);
        }
        let steps = self.shape.steps_out();
        let windows = Layout {
            base: 0,
            group_len: steps,
            group_stride: window,
            row_stride: self.shape.stride * input,
        };
        let input = Input {
            data: &self.windows,
            layout: windows,
        };
        let output = Output {
            data: out,
            layout,
            write,
        };
        let (n, bias) = (rows.len() * steps, self.bias.as_deref());
        gemm(pool, &self.weight, n, input, bias, output);
    }

    /// Returns `row` to the padding before a stream's first sample.
    pub(super) fn reset_row(&mut self, row: RowId) {
        let at = self.shape.past();
        let Self {
            shape: _,
            padding: _,
            weight: _,
            bias: _,
            history,
            fresh,
            windows: _,
        } = self;
        history[row.index() * at..][..at].fill(0.0);
        fresh[row.index()] = true;
    }
}
