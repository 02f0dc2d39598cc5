//! The convolutions of Mimi's encoder (SEANet, arXiv:2009.02095, as in EnCodec and Mimi), in the order of their use.

use super::conv::{ConvLayout, ConvShape, Padding};
use super::mimi::MimiConfig;

/// Convolutions from samples to latents at 25 Hz, with ELU before each but the first.
#[derive(Clone, Debug)]
pub(crate) struct SeanetLayout {
    pub(crate) first: ConvLayout,
    pub(crate) levels: Vec<LevelLayout>,
    pub(crate) last: ConvLayout,
}

/// Residual blocks at one rate, and the convolution to the next.
#[derive(Clone, Debug)]
pub(crate) struct LevelLayout {
    pub(crate) residuals: Vec<ResidualLayout>,
    pub(crate) down: ConvLayout,
}

/// A residual block: what `widen` makes of `narrow`'s output is added to the block's input.
#[derive(Clone, Debug)]
pub(crate) struct ResidualLayout {
    pub(crate) narrow: ConvLayout,
    pub(crate) widen: ConvLayout,
}

impl SeanetLayout {
    /// Returns the encoder's convolutions, `encoder.model.*`.
    pub(crate) fn encoder(config: &MimiConfig) -> Self {
        let c = &config.seanet;
        let conv = |index: String, (input, output), kernel, stride, steps| ConvLayout {
            name: format!("encoder.model.{index}.conv.conv"),
            shape: ConvShape {
                input,
                output,
                kernel,
                stride,
                steps,
            },
            padding: Padding::Zeros,
            bias: true,
        };
        let (mut steps, mut channels) = (config.frame_samples(), c.n_filters);
        let first = conv("0".to_owned(), (1, channels), c.kernel_size, 1, steps);
        // Activations have a number of their own in the file's list of modules, so numbers skip.
        let mut index = 1;
        let mut levels = Vec::new();
        for stride in c.ratios.iter().rev().copied() {
            let narrow = channels / c.compress;
            let residuals = (0..c.n_residual_layers).map(|i| ResidualLayout {
                narrow: conv(
                    format!("{}.block.1", index + i),
                    (channels, narrow),
                    c.residual_kernel_size,
                    1,
                    steps,
                ),
                widen: conv(format!("{}.block.3", index + i), (narrow, channels), 1, 1, steps),
            });
            let residuals = residuals.collect();
            index += c.n_residual_layers + 1;
            let wide = (channels, 2 * channels);
            let down = conv(index.to_string(), wide, 2 * stride, stride, steps);
            index += 1;
            levels.push(LevelLayout { residuals, down });
            (steps, channels) = (steps / stride, channels * 2);
        }
        let out = (channels, config.dimension);
        Self {
            first,
            levels,
            last: conv((index + 1).to_string(), out, c.last_kernel_size, 1, steps),
        }
    }

    /// Returns all convolutions.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ConvLayout> {
        let levels = self.levels.iter().flat_map(|level| {
            let residuals = level.residuals.iter().flat_map(|r| [&r.narrow, &r.widen]);
            residuals.chain([&level.down])
        });
        [&self.first].into_iter().chain(levels).chain([&self.last])
    }

    /// Returns the most values per frame that a convolution gives.
    pub(crate) fn widest(&self) -> usize {
        self.all().map(|conv| conv.shape.outputs()).max().unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_published_encoder_has_the_files_names_and_shapes() {
        let layout = SeanetLayout::encoder(&MimiConfig::published());
        let named: Vec<(String, [usize; 3])> = layout
            .all()
            .map(|conv| {
                let name = conv.name.replace("encoder.model.", "").replace(".conv.conv", "");
                (name, [conv.shape.output, conv.shape.input, conv.shape.kernel])
            })
            .collect();
        let want = [
            ("0", [64, 1, 7]),
            ("1.block.1", [32, 64, 3]),
            ("1.block.3", [64, 32, 1]),
            ("3", [128, 64, 8]),
            ("4.block.1", [64, 128, 3]),
            ("4.block.3", [128, 64, 1]),
            ("6", [256, 128, 10]),
            ("7.block.1", [128, 256, 3]),
            ("7.block.3", [256, 128, 1]),
            ("9", [512, 256, 12]),
            ("10.block.1", [256, 512, 3]),
            ("10.block.3", [512, 256, 1]),
            ("12", [1024, 512, 16]),
            ("14", [512, 1024, 3]),
        ];
        assert_eq!(named, want.map(|(name, shape)| (name.to_owned(), shape)));
        assert_eq!(layout.last.shape.steps_out(), 2);
    }
}
