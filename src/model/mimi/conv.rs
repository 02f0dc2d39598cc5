//! Causal streaming convolutions over batch rows.
//!
//! Audio runs channels-last, so the window of one output step is one contiguous stretch of `kernel × channels` values
//! and a convolution is a [`gemm`] over overlapping rows: nothing is unfolded, and one weight layout serves all.

use crate::model::cpu::gemm::{Input, Layout, Output, Write, gemm};
use crate::model::cpu::matrix::{Matrix, WeightFormat};
use crate::model::cpu::pool::Pool;
use crate::model::error::LoadError;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// What stands before the first sample of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    Zeros,
    /// The stream's first input step, repeated (Mimi's downsampling convolution).
    Replicate,
}

/// Shape of a convolution and the input steps it gets per frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    pub(crate) input: usize,
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    pub(crate) steps: usize,
}

/// One convolution: weights, the last `kernel - stride` input steps of every row, and windows for a group of rows.
pub(crate) struct StreamConv {
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
    /// Loads `{name}.weight` (`[output, input, kernel]`, or `weight_g`/`weight_v` of a weight-normed one) and, with
    /// `bias`, `{name}.bias`. State for `rows` rows, of which at most `group` are computed at a time.
    pub(crate) fn load(
        w: &Weights,
        name: &str,
        shape: ConvShape,
        (padding, bias): (Padding, bool),
        (rows, group): (usize, usize),
    ) -> Result<Self, LoadError> {
        let ConvShape {
            input,
            output,
            kernel,
            stride,
            steps,
        } = shape;
        let raw = conv_weight(w, name, [output, input, kernel])?;
        let at = |i: usize| raw[(i / (kernel * input) * input + i % input) * kernel + i / input % kernel];
        let windowed: Vec<f32> = (0..raw.len()).map(at).collect();
        let weight = Matrix::new(output, kernel * input, &windowed, WeightFormat::F32);
        let history = kernel - stride;
        let slack = weight.padded_cols() - weight.cols;
        Ok(Self {
            bias: if bias {
                Some(w.values(&format!("{name}.bias"), &[output])?)
            } else {
                None
            },
            history: vec![0.0; rows * history * input],
            fresh: vec![true; rows],
            windows: vec![0.0; group * (history + steps) * input + slack],
            shape,
            padding,
            weight,
        })
    }

    fn history_len(&self) -> usize {
        (self.shape.kernel - self.shape.stride) * self.shape.input
    }

    fn window_len(&self) -> usize {
        self.history_len() + self.shape.steps * self.shape.input
    }

    /// Output steps per frame.
    pub(crate) fn steps_out(&self) -> usize {
        self.shape.steps / self.shape.stride
    }

    /// Channels of an output step.
    pub(crate) fn channels_out(&self) -> usize {
        self.shape.output
    }

    /// The whole buffer of windows and where in it a producer writes the new input steps of each row of the group.
    pub(crate) fn inlet(&mut self) -> (&mut [f32], Layout) {
        let (base, outer) = (self.history_len(), self.window_len());
        let layout = Layout {
            base,
            per: self.shape.steps,
            outer,
            inner: self.shape.input,
        };
        (&mut self.windows, layout)
    }

    /// The new input steps of the `slot`-th row of the group, `steps × input`.
    pub(crate) fn input(&mut self, slot: usize) -> &mut [f32] {
        let (history, window) = (self.history_len(), self.window_len());
        &mut self.windows[slot * window + history..(slot + 1) * window]
    }

    /// Convolves the inputs written for `rows` (slot `i` is `rows[i]`) into `out`.
    pub(crate) fn forward(
        &mut self,
        pool: &mut Pool,
        rows: &[RowId],
        out: &mut [f32],
        layout: Layout,
        write: Write,
    ) {
        let (history, window, input) = (self.history_len(), self.window_len(), self.shape.input);
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
        let steps = self.steps_out();
        let x = Layout {
            base: 0,
            per: steps,
            outer: window,
            inner: self.shape.stride * input,
        };
        let input = Input {
            data: &self.windows,
            layout: x,
        };
        let output = Output {
            data: out,
            layout,
            write,
        };
        gemm(
            pool,
            &self.weight,
            rows.len() * steps,
            input,
            self.bias.as_deref(),
            output,
        );
    }

    /// Back to the padding before a stream's first sample.
    pub(crate) fn reset_row(&mut self, row: RowId) {
        let at = self.history_len();
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

// Published files hold fused weights; training checkpoints hold direction and length apart, under either of two names.
pub(crate) fn conv_weight(w: &Weights, name: &str, shape: [usize; 3]) -> Result<Vec<f32>, LoadError> {
    let spellings = [
        ("weight_g".to_owned(), "weight_v".to_owned()),
        (
            "parametrizations.weight.original0".to_owned(),
            "parametrizations.weight.original1".to_owned(),
        ),
    ];
    for (g, v) in spellings.map(|(g, v)| (format!("{name}.{g}"), format!("{name}.{v}"))) {
        if !w.has(&g) {
            continue;
        }
        let lengths = w.values(&g, &[shape[0], 1, 1])?;
        let mut direction = w.values(&v, &shape)?;
        for (filter, length) in direction.chunks_exact_mut(shape[1] * shape[2]).zip(lengths) {
            let norm = filter.iter().map(|x| x * x).sum::<f32>().sqrt();
            filter.iter_mut().for_each(|x| *x *= length / norm);
        }
        return Ok(direction);
    }
    w.values(&format!("{name}.weight"), &shape)
}
