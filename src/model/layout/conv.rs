//! Shape and tensor names of a causal streaming convolution, plain or transposed.
//!
//! A transposed convolution is computed as a plain one. With stride `s` and a kernel of `n · s` taps, the `s` output
//! steps that begin with input step `t` depend on input steps `t - n + 1 .. t` alone: it is a plain convolution of
//! kernel `n` and stride 1 whose output step holds `s` steps of audio, one after the other. So what a row keeps between
//! frames is inputs, as for every convolution, and not sums of outputs that overlap.

/// What stands before the first sample of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Padding {
    Zeros,
    /// The stream's first input step, repeated (Mimi's downsampling convolution).
    Replicate,
}

/// Shape of a convolution as it is computed, and its input steps per frame.
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
    /// Steps of audio in an output step of a transposed convolution; none for a plain one.
    pub(crate) upsampling: Option<usize>,
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

    /// Returns the channels of a step of audio that comes out: the values of the bias.
    pub(crate) fn channels_out(&self) -> usize {
        self.shape.output / self.upsampling.unwrap_or(1)
    }

    /// Returns the shape of the weights in the checkpoint: `[output, input, kernel]`, of a transposed convolution
    /// `[input, output, kernel]`.
    pub(crate) fn stored(&self) -> [usize; 3] {
        let s = &self.shape;
        match self.upsampling {
            None => [s.output, s.input, s.kernel],
            Some(stride) => [s.input, self.channels_out(), s.kernel * stride],
        }
    }

    /// Arranges the checkpoint's weights as windows of channels-last audio lie, `[output][kernel][input]`.
    pub(crate) fn windowed(&self, stored: &[f32]) -> Vec<f32> {
        let ConvShape { input, kernel, .. } = self.shape;
        let (taps, channels) = (self.stored()[2], self.channels_out());
        let at = |i: usize| {
            let (output, tap, channel) = (i / (kernel * input), i / input % kernel, i % input);
            match self.upsampling {
                None => (output * input + channel) * kernel + tap,
                Some(stride) => {
                    let (step, output) = (output / channels, output % channels);
                    // The window has the oldest input first, which the last taps of a transposed kernel meet.
                    (channel * channels + output) * taps + (kernel - 1 - tap) * stride + step
                }
            }
        };
        (0..stored.len()).map(|i| stored[at(i)]).collect()
    }

    /// Returns how many values the weights have.
    pub(crate) fn values(&self) -> u64 {
        let bias = if self.bias { self.channels_out() } else { 0 };
        (self.stored().iter().product::<usize>() + bias) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transposed_convolution_is_a_plain_one_over_windows_of_inputs() {
        let (input, channels, kernel, stride, steps) = (3, 2, 2, 4, 5);
        let layout = ConvLayout {
            name: String::new(),
            shape: ConvShape {
                input,
                output: stride * channels,
                kernel,
                stride: 1,
                steps,
            },
            upsampling: Some(stride),
            padding: Padding::Zeros,
            bias: false,
        };
        let taps = kernel * stride;
        assert_eq!(layout.stored(), [input, channels, taps]);
        let value = |i: usize| (i * 7919 % 23) as f32 - 11.0;
        let stored: Vec<f32> = (0..input * channels * taps).map(value).collect();
        let x: Vec<f32> = (0..steps * input).map(|i| value(i + 5)).collect();

        // By definition: every input step adds its taps to the output from its place on.
        let mut want = vec![0.0; (steps + kernel) * stride * channels];
        for (i, x) in x.iter().enumerate() {
            let (t, c) = (i / input, i % input);
            for (o, k) in (0..channels).flat_map(|o| (0..taps).map(move |k| (o, k))) {
                want[(t * stride + k) * channels + o] += x * stored[(c * channels + o) * taps + k];
            }
        }
        want.truncate(steps * stride * channels);

        let padded = [vec![0.0; layout.shape.past()], x].concat();
        let windows = padded.windows(kernel * input).step_by(input);
        let weights = layout.windowed(&stored);
        let dot = |filter: &[f32], window: &[f32]| filter.iter().zip(window).map(|(w, x)| w * x).sum::<f32>();
        let got: Vec<f32> = windows
            .flat_map(|window| weights.chunks_exact(kernel * input).map(move |f| dot(f, window)))
            .collect();
        assert_eq!(got, want);
    }
}
