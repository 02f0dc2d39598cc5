//! Mimi's encoder on the device: audio of a bucket of slots to codes.

use super::conv::{Conv, Io};
use super::quantizer::Quantizer;
use super::seanet::Seanet;
use crate::model::cuda::backend::{Backend, ProfileSpan, Ptr};
use crate::model::cuda::source::Loader;
use crate::model::cuda::transformer::{Held, Transformer};
use crate::model::error::LoadError;
use crate::model::layout::dtype::{Cache, Real};
use crate::model::layout::mimi::{ENCODER_TRANSFORMER, MimiConfig, STEPS};

/// The encoder, with state for every row. All buffers are f32.
pub(in crate::model::cuda) struct MimiEncoder {
    seanet: Seanet,
    transformer: Transformer,
    downsample: Conv,
    quantizer: Quantizer,
    /// `[slots][2][dimension]`
    steps: Ptr,
    /// The downsampling convolution's scratch.
    unfolded: Ptr,
    /// `[slots][dimension]`
    latents: Ptr,
    dimension: usize,
    exact: bool,
}

impl MimiEncoder {
    /// Loads the encoder half of a Mimi checkpoint, with its first `codebooks` codebooks and state for `rows` rows.
    /// Products are full f32 if `exact`, else TF32.
    ///
    /// # Errors
    /// A tensor is missing or wrong, the kernels do not take a shape, or the device is full.
    pub(in crate::model::cuda) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        config: &MimiConfig,
        codebooks: usize,
        rows: usize,
        exact: bool,
    ) -> Result<Self, LoadError> {
        let d = config.dimension;
        let held = Held {
            rows,
            real: Real::F32,
            cache: Cache::Plain(Real::F32),
            exact,
        };
        let spans = (ProfileSpan::CodecTransformer, ProfileSpan::CodecTransformer);
        let downsample = Conv::load(l, &config.downsample(), rows)?;
        Ok(Self {
            seanet: Seanet::load(l, config, rows, exact)?,
            transformer: Transformer::load(l, ENCODER_TRANSFORMER, config.transformer_shape(), held, spans)?,
            quantizer: Quantizer::load(l, config, codebooks, rows)?,
            steps: l.space(rows * STEPS * d * 4)?,
            unfolded: l.space(rows * downsample.unfolded_bytes())?,
            latents: l.space(rows * d * 4)?,
            downsample,
            dimension: d,
            exact,
        })
    }

    /// Queues the encoding of one frame of each of `n` slots: `pcm` is `[n][samples]`, `codes` gets `[n][codebooks]`.
    pub(in crate::model::cuda) fn launch<B: Backend>(
        &self,
        b: &mut B,
        slots: Ptr,
        n: usize,
        pcm: Ptr,
        codes: Ptr,
    ) {
        b.mark(ProfileSpan::Convolutions);
        self.seanet.launch(b, slots, n, pcm, self.steps);
        self.transformer.launch(b, slots, n, self.steps);
        b.mark(ProfileSpan::Quantizer);
        let io = Io {
            slots,
            n,
            x: self.steps,
            unfolded: self.unfolded,
            y: self.latents,
            elu: false,
            add: false,
            exact: self.exact,
        };
        self.downsample.launch(b, io);
        self.quantizer.launch(b, n, self.latents, codes);
    }

    /// Returns the width of a latent.
    pub(in crate::model::cuda) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Returns where the last step's latents lie, `[slots][dimension]`.
    pub(in crate::model::cuda) fn latents(&self) -> Ptr {
        self.latents
    }
}
