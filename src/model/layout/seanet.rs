//! The convolutions of Mimi's encoder and decoder (SEANet, arXiv:2009.02095, as in EnCodec and Mimi), in the order of
//! their use.

use super::conv::{ConvLayout, ConvShape, Padding};
use super::mimi::{MimiConfig, STEPS};

/// Convolutions between samples and steps at 25 Hz, with ELU before each but the first.
#[derive(Clone, Debug)]
pub(crate) struct SeanetLayout {
    pub(crate) first: ConvLayout,
    pub(crate) blocks: Vec<BlockLayout>,
    pub(crate) last: ConvLayout,
}

/// What stands between the first and the last convolution.
#[derive(Clone, Debug)]
pub(crate) enum BlockLayout {
    /// A residual block: what `widen` makes of `narrow`'s output is added to the block's input.
    Residual { narrow: ConvLayout, widen: ConvLayout },
    /// A convolution to another rate.
    Resample(ConvLayout),
}

impl SeanetLayout {
    /// Returns the encoder's convolutions, `encoder.model.*`: samples to steps.
    pub(crate) fn encoder(config: &MimiConfig) -> Self {
        let c = &config.seanet;
        let (mut steps, mut channels) = (config.frame_samples(), c.n_filters);
        let conv = |index: usize, (input, output), kernel, stride, steps| {
            plain(
                format!("encoder.model.{index}"),
                [input, output, kernel],
                stride,
                steps,
            )
        };
        let first = conv(0, (1, channels), c.kernel_size, 1, steps);
        // Activations have a number of their own in the file's list of modules, so numbers skip.
        let mut index = 1;
        let mut blocks = Vec::new();
        for stride in c.ratios.iter().rev().copied() {
            for _ in 0..c.n_residual_layers {
                blocks.push(residual(
                    config,
                    format!("encoder.model.{index}"),
                    channels,
                    steps,
                ));
                index += 1;
            }
            let wide = (channels, 2 * channels);
            blocks.push(BlockLayout::Resample(conv(
                index + 1,
                wide,
                2 * stride,
                stride,
                steps,
            )));
            index += 2;
            (steps, channels) = (steps / stride, channels * 2);
        }
        let out = (channels, config.dimension);
        Self {
            first,
            blocks,
            last: conv(index + 1, out, c.last_kernel_size, 1, steps),
        }
    }

    /// Returns the decoder's convolutions, `decoder.model.*`: steps to samples.
    pub(crate) fn decoder(config: &MimiConfig) -> Self {
        let c = &config.seanet;
        let (mut steps, mut channels) = (STEPS, c.n_filters << c.ratios.len());
        let conv = |index: usize, (input, output), kernel, steps| {
            plain(
                format!("decoder.model.{index}"),
                [input, output, kernel],
                1,
                steps,
            )
        };
        let first = conv(0, (config.dimension, channels), c.kernel_size, steps);
        let mut index = 1;
        let mut blocks = Vec::new();
        for stride in c.ratios.iter().copied() {
            let name = format!("decoder.model.{}.convtr.convtr", index + 1);
            blocks.push(BlockLayout::Resample(ConvLayout {
                name,
                shape: ConvShape {
                    input: channels,
                    output: stride * channels / 2,
                    kernel: 2,
                    stride: 1,
                    steps,
                },
                upsampling: Some(stride),
                padding: Padding::Zeros,
                bias: true,
            }));
            index += 2;
            (steps, channels) = (steps * stride, channels / 2);
            for _ in 0..c.n_residual_layers {
                blocks.push(residual(
                    config,
                    format!("decoder.model.{index}"),
                    channels,
                    steps,
                ));
                index += 1;
            }
        }
        Self {
            first,
            blocks,
            last: conv(index + 1, (channels, 1), c.last_kernel_size, steps),
        }
    }

    /// Returns all convolutions.
    pub(crate) fn all(&self) -> impl Iterator<Item = &ConvLayout> {
        let blocks = self.blocks.iter().flat_map(|block| match block {
            BlockLayout::Residual { narrow, widen } => [Some(narrow), Some(widen)],
            BlockLayout::Resample(conv) => [Some(conv), None],
        });
        [&self.first]
            .into_iter()
            .chain(blocks.flatten())
            .chain([&self.last])
    }

    /// Returns the most values per frame that a convolution gives.
    pub(crate) fn widest(&self) -> usize {
        self.all().map(|conv| conv.shape.outputs()).max().unwrap_or(0)
    }
}

// A convolution of `[input, output, kernel]`, with a bias, in the module called `module`.
fn plain(module: String, [input, output, kernel]: [usize; 3], stride: usize, steps: usize) -> ConvLayout {
    ConvLayout {
        name: format!("{module}.conv.conv"),
        shape: ConvShape {
            input,
            output,
            kernel,
            stride,
            steps,
        },
        upsampling: None,
        padding: Padding::Zeros,
        bias: true,
    }
}

fn residual(config: &MimiConfig, module: String, channels: usize, steps: usize) -> BlockLayout {
    let c = &config.seanet;
    let narrow = channels / c.compress;
    let block = |number: usize, shape| plain(format!("{module}.block.{number}"), shape, 1, steps);
    BlockLayout::Residual {
        narrow: block(1, [channels, narrow, c.residual_kernel_size]),
        widen: block(3, [narrow, channels, 1]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Names below `half` and shapes in the file.
    fn stored(layout: &SeanetLayout, half: &str) -> Vec<(String, [usize; 3])> {
        let short = |name: &str| {
            let name = name.strip_prefix(half).unwrap();
            name.replace(".conv.conv", "").replace(".convtr.convtr", "")
        };
        let named = layout.all().map(|conv| (short(&conv.name), conv.stored()));
        named.collect()
    }

    #[test]
    fn the_published_encoder_has_the_files_names_and_shapes() {
        let layout = SeanetLayout::encoder(&MimiConfig::published());
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
        let want = want.map(|(name, shape)| (name.to_owned(), shape));
        assert_eq!(stored(&layout, "encoder.model."), want);
        assert_eq!(layout.last.shape.steps_out(), 2);
    }

    #[test]
    fn the_published_decoder_has_the_files_names_and_shapes() {
        let layout = SeanetLayout::decoder(&MimiConfig::published());
        let want = [
            ("0", [1024, 512, 7]),
            ("2", [1024, 512, 16]),
            ("3.block.1", [256, 512, 3]),
            ("3.block.3", [512, 256, 1]),
            ("5", [512, 256, 12]),
            ("6.block.1", [128, 256, 3]),
            ("6.block.3", [256, 128, 1]),
            ("8", [256, 128, 10]),
            ("9.block.1", [64, 128, 3]),
            ("9.block.3", [128, 64, 1]),
            ("11", [128, 64, 8]),
            ("12.block.1", [32, 64, 3]),
            ("12.block.3", [64, 32, 1]),
            ("14", [1, 64, 3]),
        ];
        let want = want.map(|(name, shape)| (name.to_owned(), shape));
        assert_eq!(stored(&layout, "decoder.model."), want);
        assert_eq!(layout.last.shape.outputs(), 1920);
    }
}
