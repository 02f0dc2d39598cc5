//! Hyper-parameters and tensor names of a Mimi codec: the published sizes unless the checkpoint carries its own.
//!
//! Described in the Moshi paper (arXiv:2410.00037); names and shapes are those of the published checkpoints.

use std::path::Path;

use serde::Deserialize;

use super::conv::{ConvLayout, ConvShape, Padding};
use super::transformer::{Feed, Shape};
use crate::model::error::LoadError;
use crate::model::weights::Weights;

/// Steps of a transformer (25 Hz) in one frame.
pub(crate) const STEPS: usize = 2;

/// Name of the encoder's transformer.
pub(crate) const ENCODER_TRANSFORMER: &str = "encoder_transformer.transformer";

/// Name of the decoder's transformer.
pub(crate) const DECODER_TRANSFORMER: &str = "decoder_transformer.transformer";

/// Metadata key under which a checkpoint of other sizes than the published ones states them, as JSON.
const METADATA_KEY: &str = "mimi_config";

/// Shape of the codec.
///
/// ```
/// use moshi_server::model::layout::mimi::MimiConfig;
/// use moshi_server::stream::frame::FRAME_SAMPLES;
/// assert_eq!(MimiConfig::published().frame_samples(), FRAME_SAMPLES);
/// ```
#[derive(Clone, Debug, Deserialize)]
pub struct MimiConfig {
    /// In Hz.
    pub sample_rate: u32,
    /// Latents, and so frames of codes, per second.
    pub frame_rate: f64,
    pub channels: usize,
    /// Width of a latent.
    pub dimension: usize,
    pub seanet: SeanetConfig,
    pub transformer: CodecTransformer,
    pub quantizer: QuantizerConfig,
}

/// The convolutional encoder and decoder (SEANet, arXiv:2009.02095, as in EnCodec and Mimi).
#[derive(Clone, Debug, Deserialize)]
pub struct SeanetConfig {
    pub n_filters: usize,
    /// Strides in the decoder's order; the encoder has them in the reverse order.
    pub ratios: Vec<usize>,
    pub kernel_size: usize,
    pub residual_kernel_size: usize,
    pub last_kernel_size: usize,
    pub n_residual_layers: usize,
    /// A residual block narrows its channels by this factor.
    pub compress: usize,
}

/// The transformers between convolutions and quantizer; encoder and decoder have one each, of the same shape.
#[derive(Clone, Debug, Deserialize)]
pub struct CodecTransformer {
    pub num_layers: usize,
    pub num_heads: usize,
    pub dim_feedforward: usize,
    pub context: usize,
    pub max_period: f64,
    pub layer_scale: bool,
}

/// The split residual vector quantizer.
#[derive(Clone, Debug, Deserialize)]
pub struct QuantizerConfig {
    /// Width of a code vector.
    pub dimension: usize,
    /// Codebooks in the file, the first (semantic) one included.
    pub n_q: usize,
    /// Entries per codebook.
    pub bins: usize,
}

/// The transposed convolution of stride [`STEPS`] from latents to decoder steps: `{name}.weight`, `[channels, 1, taps]`.
/// Each channel has taps of its own, and there is no bias.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UpsampleLayout {
    pub(crate) name: &'static str,
    pub(crate) channels: usize,
    pub(crate) taps: usize,
}

impl UpsampleLayout {
    /// Returns how many values the weights have.
    pub(crate) fn values(&self) -> u64 {
        (self.channels * self.taps) as u64
    }
}

impl MimiConfig {
    /// The shape of Kyutai's published Mimi (`mimi-pytorch-e351c8d8@125.safetensors`).
    pub fn published() -> Self {
        Self {
            sample_rate: 24_000,
            frame_rate: 12.5,
            channels: 1,
            dimension: 512,
            seanet: SeanetConfig {
                n_filters: 64,
                ratios: vec![8, 6, 5, 4],
                kernel_size: 7,
                residual_kernel_size: 3,
                last_kernel_size: 3,
                n_residual_layers: 1,
                compress: 2,
            },
            transformer: CodecTransformer {
                num_layers: 8,
                num_heads: 8,
                dim_feedforward: 2048,
                context: 250,
                max_period: 10_000.0,
                layer_scale: true,
            },
            quantizer: QuantizerConfig {
                dimension: 256,
                n_q: 32,
                bins: 2048,
            },
        }
    }

    /// Reads the shape of the codec in the file at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or it states a shape that is not supported.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        Self::of(&Weights::open(path)?)
    }

    /// Returns the shape of the codec in `w`.
    ///
    /// # Errors
    /// The file states a shape that is not supported.
    pub(crate) fn of(w: &Weights) -> Result<Self, LoadError> {
        let wrong = |reason: String| LoadError::Metadata {
            path: w.path().to_owned(),
            key: METADATA_KEY,
            reason,
        };
        let config = match w.metadata(METADATA_KEY) {
            Some(json) => serde_json::from_str(json).map_err(|e| wrong(e.to_string()))?,
            None => Self::published(),
        };
        if config.channels != 1 || config.frame_samples() * 2 != config.stride() * 4 {
            return Err(wrong(format!(
                "one channel and two encoder steps per frame are supported; it has {} channels, {} samples per frame and a stride of {}",
                config.channels,
                config.frame_samples(),
                config.stride()
            )));
        }
        if config.quantizer.n_q < 2 || config.quantizer.dimension % 8 != 0 {
            return Err(wrong(
                "the quantizer needs at least two codebooks of a width that is a multiple of 8".to_owned(),
            ));
        }
        Ok(config)
    }

    /// Returns the samples of one frame.
    #[must_use]
    pub fn frame_samples(&self) -> usize {
        (f64::from(self.sample_rate) / self.frame_rate) as usize
    }

    /// Returns the shape of a transformer between convolutions and quantizer.
    pub(crate) fn transformer_shape(&self) -> Shape {
        let t = &self.transformer;
        Shape {
            dim: self.dimension,
            heads: t.num_heads,
            layers: t.num_layers,
            hidden: t.dim_feedforward,
            feed: Feed::Gelu,
            context: t.context,
            max_period: t.max_period,
            layer_scale: t.layer_scale,
            tokens: STEPS,
        }
    }

    /// Returns the convolution from two encoder steps to one latent.
    pub(crate) fn downsample(&self) -> ConvLayout {
        ConvLayout {
            name: "downsample.conv.conv.conv".to_owned(),
            shape: ConvShape {
                input: self.dimension,
                output: self.dimension,
                kernel: 2 * STEPS,
                stride: STEPS,
                steps: STEPS,
            },
            upsampling: None,
            padding: Padding::Replicate,
            bias: false,
        }
    }

    /// Returns the transposed convolution from one latent to two decoder steps.
    pub(crate) fn upsample(&self) -> UpsampleLayout {
        UpsampleLayout {
            name: "upsample.convtr.convtr.convtr",
            channels: self.dimension,
            taps: 2 * STEPS,
        }
    }

    fn stride(&self) -> usize {
        self.seanet.ratios.iter().product()
    }
}
