//! Shape and tensor names of a causal streaming convolution.

/// What stands before the first sample of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    Zeros,
    /// The stream's first input step, repeated (Mimi's downsampling convolution).
    Replicate,
}

/// Shape of a convolution, and its input steps per frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConvShape {
    /// Channels of an input step.
    pub(crate) input: usize,
    /// Channels of an output step.
    pub(crate) output: usize,
    pub(crate) kernel: usize,
    pub(crate) stride: usize,
    /// Input steps per frame.
    pub(crate) steps: usize,
}

/// A convolution in the checkpoint: `{name}.weight` (or a weight-normed spelling of it) and `{name}.bias`.
#[derive(Clone, Debug)]
pub(crate) struct ConvLayout {
    pub(crate) name: String,
    pub(crate) shape: ConvShape,
    pub(crate) padding: Padding,
    pub(crate) bias: bool,
}

/// Suffixes of lengths and directions where weight norm (arXiv:1602.07868) is not fused into the weights: published
/// files are fused, training checkpoints have either of these two pairs.
pub(crate) const WEIGHT_NORM: [(&str, &str); 2] = [
    ("weight_g", "weight_v"),
    (
        "parametrizations.weight.original0",
        "parametrizations.weight.original1",
    ),
];

impl ConvShape {
    /// Returns the input steps that a row keeps from frame to frame.
    pub(crate) fn past_steps(&self) -> usize {
        self.kernel - self.stride
    }

    /// Returns the values that a row keeps from frame to frame.
    pub(crate) fn past(&self) -> usize {
        self.past_steps() * self.input
    }

    /// Returns the output steps per frame.
    pub(crate) fn steps_out(&self) -> usize {
        self.steps / self.stride
    }

    /// Returns the output values per frame.
    pub(crate) fn outputs(&self) -> usize {
        self.steps_out() * self.output
    }

    /// Returns the values that a frame's windows read: what a row keeps, then the frame.
    pub(crate) fn window(&self) -> usize {
        self.past() + self.steps * self.input
    }
}

impl ConvLayout {
    /// Returns the name of the bias, where there is one.
    pub(crate) fn bias_name(&self) -> Option<String> {
        self.bias.then(|| format!("{}.bias", self.name))
    }

    /// Returns how many values the weights have.
    pub(crate) fn values(&self) -> u64 {
        let s = &self.shape;
        let bias = if self.bias { s.output } else { 0 };
        (s.output * s.input * s.kernel + bias) as u64
    }
}
