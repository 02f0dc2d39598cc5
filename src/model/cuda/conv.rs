//! A causal streaming convolution on the device: unfold, remember, multiply.

use super::args::{BLOCK, Kernel, RememberArgs, UnfoldArgs};
use super::backend::{Backend, Matrix, Product, Ptr, Real};
use super::source::Loader;
use crate::model::error::LoadError;
use crate::model::mimi::conv::{ConvShape, Padding};

/// Weights, and the last `kernel - stride` input steps of every row.
pub(super) struct Conv {
    shape: ConvShape,
    padding: Padding,
    bias: bool,
    /// `[output][kernel · input + 1]`: taps channels-last as the windows lie, then the bias.
    weight: Matrix,
    history: Ptr,
}

/// Where a convolution reads and writes, for the slots of one launch.
#[derive(Clone, Copy)]
pub(super) struct Io {
    pub(super) slots: Ptr,
    pub(super) n: usize,
    /// `[n][steps][input]`, f32.
    pub(super) x: Ptr,
    /// Scratch of [`Conv::unfolded_bytes`] a slot.
    pub(super) unfolded: Ptr,
    /// `[n][steps / stride][output]`, f32.
    pub(super) y: Ptr,
    /// Apply ELU to the input.
    pub(super) elu: bool,
    /// Add to `y`.
    pub(super) add: bool,
    pub(super) exact: bool,
}

/// Steps of the past that a row remembers.
fn past(s: &ConvShape) -> usize {
    s.kernel - s.stride
}

/// Bytes of history one row costs.
pub(super) fn row_bytes(s: &ConvShape) -> usize {
    past(s) * s.input * size_of::<f32>()
}

impl Conv {
    /// Loads `{name}.weight` in any spelling and, with `bias`, `{name}.bias`; history for `rows` rows.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        name: &str,
        shape: ConvShape,
        (padding, bias): (Padding, bool),
        rows: usize,
    ) -> Result<Self, LoadError> {
        let ConvShape {
            input,
            output,
            kernel,
            stride,
            steps,
        } = shape;
        if kernel < stride || past(&shape) > steps || !steps.is_multiple_of(stride) {
            return Err(LoadError::Config(format!(
                "convolution {name} (kernel {kernel}, stride {stride}, {steps} steps a frame) is not supported on a GPU"
            )));
        }
        let raw = l.source.conv(name, [output, input, kernel])?;
        let biases = if bias {
            l.source.values(&format!("{name}.bias"), &[output])?
        } else {
            Vec::new()
        };
        let wide = kernel * input + usize::from(bias);
        let mut lines = Vec::with_capacity(output * wide);
        for (o, filter) in raw.chunks_exact(input * kernel).enumerate() {
            lines.extend((0..kernel * input).map(|i| filter[i % input * kernel + i / input]));
            lines.extend(biases.get(o));
        }
        // Lines of a product are as wide as the weights have rows: no filling up here, the next layer reads them dense.
        let mut weight = l.lines(lines.chunks_exact(wide), wide, Real::F32)?;
        weight.n = output;
        Ok(Self {
            history: l.space(rows * row_bytes(&shape))?,
            shape,
            padding,
            bias,
            weight,
        })
    }

    /// Output steps of a frame.
    fn lines(&self) -> usize {
        self.shape.steps / self.shape.stride
    }

    /// Scratch that one slot's unfolding takes.
    pub(super) fn unfolded_bytes(&self) -> usize {
        self.lines() * self.weight.k * size_of::<f32>()
    }

    /// Queues the convolution of one frame of each slot.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, io: Io) {
        let s = &self.shape;
        let past = past(s);
        let unfold = UnfoldArgs {
            slots: io.slots,
            x: io.x,
            history: self.history,
            out: io.unfolded,
            channels: s.input as u32,
            kernel: s.kernel as u32,
            stride: s.stride as u32,
            steps: s.steps as u32,
            past: past as u32,
            width: self.weight.k as u32,
            elu: u32::from(io.elu),
            replicate: u32::from(self.padding == Padding::Replicate),
            bias: u32::from(self.bias),
            unused: 0,
        };
        let quads = self.lines() * self.weight.k / 4;
        b.launch(Kernel::Unfold, [quads.div_ceil(BLOCK), io.n, 1], unfold);
        if past > 0 {
            let remember = RememberArgs {
                slots: io.slots,
                x: io.x,
                history: self.history,
                channels: s.input as u32,
                steps: s.steps as u32,
                past: past as u32,
                elu: u32::from(io.elu),
            };
            let blocks = (past * s.input).div_ceil(BLOCK);
            b.launch(Kernel::Remember, [blocks, io.n, 1], remember);
        }
        b.product(Product {
            w: self.weight,
            m: io.n * self.lines(),
            x: io.unfolded,
            y: io.y,
            add: io.add,
            exact: io.exact,
        });
    }
}
