//! A causal streaming convolution on the device: unfold, remember, multiply.

use crate::model::cuda::backend::{Backend, Matrix, Product, Ptr};
use crate::model::cuda::kernels::{BLOCK, Kernel, RememberArgs, UnfoldArgs};
use crate::model::cuda::source::Loader;
use crate::model::error::LoadError;
use crate::model::layout::conv::{ConvLayout, ConvShape, Padding};
use crate::model::layout::dtype::Real;

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
    /// Scratch, [`Conv::unfolded_bytes`] per slot.
    pub(super) unfolded: Ptr,
    /// `[n][steps / stride][output]`, f32.
    pub(super) y: Ptr,
    /// Whether ELU is applied to the input.
    pub(super) elu: bool,
    /// Whether the result is added to `y`.
    pub(super) add: bool,
    pub(super) exact: bool,
}

impl Conv {
    /// Loads a convolution with history for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, the kernels do not take the shape, or the device is full.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        layout: &ConvLayout,
        rows: usize,
    ) -> Result<Self, LoadError> {
        let (name, shape) = (&layout.name, layout.shape);
        let ConvShape {
            input,
            output,
            kernel,
            stride,
            steps,
        } = shape;
        if kernel < stride || shape.past_steps() > steps || !steps.is_multiple_of(stride) {
            return Err(LoadError::Config(format!(
                "convolution {name} (kernel {kernel}, stride {stride}, {steps} steps per frame) is not supported on a GPU"
            )));
        }
        let windowed = layout.windowed(&l.source.conv(name, layout.stored())?);
        let biases = match layout.bias_name() {
            Some(name) => l.source.values(&name, &[layout.channels_out()])?,
            None => Vec::new(),
        };
        let wide = kernel * input + usize::from(layout.bias);
        let mut lines = Vec::with_capacity(output * wide);
        for (o, filter) in windowed.chunks_exact(input * kernel).enumerate() {
            lines.extend(filter);
            lines.extend(biases.get(o % layout.channels_out()));
        }
        // Lines of a product are as wide as the weights have rows: no filling up here, the next layer reads them dense.
        let mut weight = l.lines(lines.chunks_exact(wide), wide, Real::F32)?;
        weight.n = output;
        Ok(Self {
            history: l.space(rows * shape.past() * size_of::<f32>())?,
            shape,
            padding: layout.padding,
            bias: layout.bias,
            weight,
        })
    }

    /// Returns the bytes of scratch per slot.
    pub(super) fn unfolded_bytes(&self) -> usize {
        self.shape.steps_out() * self.weight.k * size_of::<f32>()
    }

    /// Queues the convolution of one frame of each slot.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, io: Io) {
        let s = &self.shape;
        let past = s.past_steps();
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
        let quads = self.shape.steps_out() * self.weight.k / 4;
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
            let blocks = s.past().div_ceil(BLOCK);
            b.launch(Kernel::Remember, [blocks, io.n, 1], remember);
        }
        b.product(Product {
            w: self.weight,
            m: io.n * self.shape.steps_out(),
            x: io.unfolded,
            y: io.y,
            add: io.add,
            exact: io.exact,
        });
    }
}
