//! The plan of a model's bytes: what its weights take, what each row takes for its state, and what each slot of a step
//! takes for results in between. One plan for all engines, asked before anything is allocated.

use std::ops::Add;

use super::conv::ConvLayout;
#[cfg(any(test, feature = "cuda"))]
use super::dtype::Real;
use super::dtype::{Cache, KvFormat, WeightFormat};
use super::lm::LmConfig;
use super::mimi::{MimiConfig, STEPS};
use super::quantizer;
use super::seanet::SeanetLayout;
use super::transformer::Shape;
use crate::model::error::LoadError;

const MIB: u64 = 1 << 20;
pub(super) const FLOAT: usize = size_of::<f32>();

/// Rows whose convolutions the CPU computes together: enough to reuse the large late weights, few enough for the wide
/// early layers to stay in cache.
pub(crate) const CPU_CONV_GROUP: usize = 8;

/// Slots whose convolutions a GPU computes together: bounds the buffers, and is plenty for every product.
#[cfg(any(test, feature = "cuda"))]
pub(crate) const GPU_CONV_GROUP: usize = 256;

/// Ring places that one block of a GPU's attention kernel reads (`SPLIT` in `attention.cu`).
#[cfg(any(test, feature = "cuda"))]
pub(crate) const SPLIT: usize = 256;

/// Bytes that a model takes on one device.
///
/// ```no_run
/// use moshi_server::model::layout::dtype::{KvFormat, WeightFormat};
/// use moshi_server::model::layout::lm::LmConfig;
/// use moshi_server::model::layout::memory::{LmWeights, MemoryPlan};
/// use moshi_server::model::layout::mimi::MimiConfig;
///
/// fn bytes_of_64_streams(lm: &LmConfig) -> u64 {
///     let weights = LmWeights::As(WeightFormat::Bf16);
///     MemoryPlan::cpu(lm, &MimiConfig::published(), weights, KvFormat::F32, 64).total(64)
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Weights, once.
    pub weights: u64,
    /// State per row: keys and values of its context, the past of its convolutions, its last token and codes.
    pub row: u64,
    /// Buffers per slot of a step; there are as many slots as rows.
    pub slot: u64,
}

impl MemoryPlan {
    /// Plans the language model and the codec's encoder for `rows` rows on a CPU, with weights of `weights` bytes for the
    /// language model.
    #[must_use]
    pub fn cpu(lm: &LmConfig, mimi: &MimiConfig, weights: LmWeights, cache: KvFormat, rows: usize) -> Self {
        let weights = match weights {
            LmWeights::Held(bytes) => bytes,
            LmWeights::As(format) => format.bytes(lm.values()),
        };
        Self {
            weights: weights + mimi_weights(lm, mimi),
            row: row(lm, mimi, cache.into()),
            slot: cpu_slot(lm, mimi, rows.max(1)),
        }
    }

    /// Plans the codec's decoder with its first `codebooks` codebooks for `rows` rows on a CPU: what a model that speaks
    /// takes besides.
    pub(crate) fn cpu_decoder(mimi: &MimiConfig, codebooks: usize, rows: usize) -> Self {
        let (codec, shape) = (mimi.dimension, mimi.transformer_shape());
        let seanet = SeanetLayout::decoder(mimi);
        let past = past(&seanet) + mimi.upsample().channels;
        let latents = mimi.quantizer.dimension + (STEPS + 1) * codec;
        let slot =
            cpu_transformer(&shape) + latents + cpu_seanet(&seanet, rows.max(1)) + mimi.frame_samples();
        Self {
            weights: WeightFormat::F32.bytes(mimi.decoder_values(codebooks)),
            row: (rings(&shape, KvFormat::F32.into()) + FLOAT * past) as u64,
            slot: (FLOAT * (slot + codebooks)) as u64,
        }
    }

    /// Plans the language model and the codec's encoder for `rows` rows on a GPU.
    #[cfg(any(test, feature = "cuda"))]
    pub(crate) fn gpu(lm: &LmConfig, mimi: &MimiConfig, real: Real, cache: Cache, rows: usize) -> Self {
        Self {
            weights: lm.values() * real.bytes() as u64 + mimi_weights(lm, mimi),
            row: row(lm, mimi, cache),
            slot: gpu_slot(lm, mimi, real, rows.max(1)),
        }
    }

    /// Returns the bytes of everything with `rows` rows.
    #[must_use]
    pub fn total(&self, rows: u64) -> u64 {
        self.weights.saturating_add(self.each().saturating_mul(rows))
    }

    /// Returns the bytes that one row more takes.
    #[must_use]
    pub fn each(&self) -> u64 {
        self.row + self.slot
    }

    /// Refuses more rows than fit into `free` bytes of which `spare` are left alone; without a number nothing is refused.
    ///
    /// # Errors
    /// The rows do not fit; the error says what a row takes and how many fit.
    pub(crate) fn check(&self, rows: usize, free: Option<u64>, spare: u64) -> Result<(), LoadError> {
        let Some(free) = free else { return Ok(()) };
        let each = self.each();
        let fit = free.saturating_sub(self.weights + spare) / each.max(1);
        let (row_mib, weights_mib) = (each as f64 / MIB as f64, self.weights / MIB);
        if rows as u64 <= fit {
            tracing::info!(
                "the model's weights take {weights_mib} MiB and each row up to {row_mib:.1} MiB: {rows} rows of {fit} that fit"
            );
            return Ok(());
        }
        Err(LoadError::Memory {
            rows,
            need_mib: each.saturating_mul(rows as u64) / MIB,
            row_mib,
            weights_mib,
            free_mib: free / MIB,
            fit,
        })
    }
}

impl Add for MemoryPlan {
    type Output = Self;

    /// Plans both parts of one model.
    fn add(self, other: Self) -> Self {
        Self {
            weights: self.weights + other.weights,
            row: self.row + other.row,
            slot: self.slot + other.slot,
        }
    }
}

/// Bytes of the language model's weights, as far as they are known.
#[derive(Clone, Copy, Debug)]
pub enum LmWeights {
    /// Held as the file holds them, which has this many bytes of them.
    Held(u64),
    /// All in one format.
    As(WeightFormat),
}

// The codec is always held as f32.
fn mimi_weights(lm: &LmConfig, mimi: &MimiConfig) -> u64 {
    WeightFormat::F32.bytes(mimi.encoder_values(lm.audio_codebooks))
}

fn row(lm: &LmConfig, mimi: &MimiConfig, cache: Cache) -> u64 {
    let past = past(&SeanetLayout::encoder(mimi)) + mimi.downsample().shape.past();
    let rings = rings(&lm.shape(), cache) + rings(&mimi.transformer_shape(), KvFormat::F32.into());
    let token_and_codes = 1 + lm.audio_codebooks;
    (rings + FLOAT * (past + token_and_codes)) as u64
}

fn past(seanet: &SeanetLayout) -> usize {
    seanet.all().map(|conv| conv.shape.past()).sum()
}

pub(super) fn rings(s: &Shape, cache: Cache) -> usize {
    s.layers * 2 * s.context * s.heads * cache.bytes(s.head_dim())
}

// The buffers that `cpu/` allocates, in f32.
fn cpu_slot(lm: &LmConfig, mimi: &MimiConfig, rows: usize) -> u64 {
    let (d, codec) = (lm.transformer.d_model, mimi.dimension);
    let language = cpu_transformer(&lm.shape()) + 2 * d + lm.text_out_vocab_size;
    let window = mimi.downsample().shape.window();
    let encoder = cpu_transformer(&mimi.transformer_shape()) + (STEPS + 1) * codec + window;
    let seanet = cpu_seanet(&SeanetLayout::encoder(mimi), rows);
    (FLOAT * (language + encoder + seanet + mimi.frame_samples() + lm.audio_codebooks)) as u64
}

pub(super) fn cpu_transformer(s: &Shape) -> usize {
    let scores = s.heads * s.context.next_multiple_of(8);
    s.tokens * (6 * s.dim + s.up_width()) + scores
}

fn cpu_seanet(seanet: &SeanetLayout, rows: usize) -> usize {
    let windows = seanet.all().map(|conv| conv.shape.window()).sum::<usize>();
    (rows.min(CPU_CONV_GROUP) * (2 * seanet.widest() + windows)).div_ceil(rows)
}

// The buffers that `cuda/` allocates, lines rounded up.
#[cfg(any(test, feature = "cuda"))]
fn gpu_slot(lm: &LmConfig, mimi: &MimiConfig, real: Real, rows: usize) -> u64 {
    let transformer = |s: &Shape, real: Real| {
        let partial = s.context.div_ceil(SPLIT) * (s.dim + 2 * s.heads);
        let floats = s.head_dim() + 3 * s.dim + s.up_width() + partial;
        s.tokens * (FLOAT * floats + real.bytes() * (2 * s.dim + s.hidden))
    };
    let heads = lm.text_out_vocab_size + lm.pause_heads() * lm.pause_classes() + 8;
    let d = lm.transformer.d_model;
    let language = transformer(&lm.shape(), real) + d * (FLOAT + real.bytes()) + FLOAT * heads;
    let seanet = SeanetLayout::encoder(mimi);
    let unfolded = seanet.all().map(|conv| {
        let s = &conv.shape;
        s.steps_out() * (s.kernel * s.input + 8)
    });
    let group = unfolded.max().unwrap_or(0) + 3 * seanet.widest();
    let group = (rows.min(GPU_CONV_GROUP) * group).div_ceil(rows);
    let q = &mimi.quantizer;
    let latents = 7 * mimi.dimension + q.dimension + q.bins;
    let encoder = transformer(&mimi.transformer_shape(), Real::F32) + FLOAT * (group + latents);
    // The slot itself (24 bytes), its audio and codes, and what is downloaded: a token and the pauses.
    let exchange = 24 + FLOAT * (mimi.frame_samples() + lm.audio_codebooks + 1 + lm.pause_heads());
    (language + encoder + exchange) as u64
}

impl MimiConfig {
    /// Returns how many values the weights of the encoder with its first `codebooks` codebooks have.
    #[must_use]
    pub fn encoder_values(&self, codebooks: usize) -> u64 {
        self.half_values(&SeanetLayout::encoder(self), codebooks) + self.downsample().values()
    }

    /// Returns how many values the weights of the decoder with its first `codebooks` codebooks have.
    #[must_use]
    pub fn decoder_values(&self, codebooks: usize) -> u64 {
        self.half_values(&SeanetLayout::decoder(self), codebooks) + self.upsample().values()
    }

    fn half_values(&self, seanet: &SeanetLayout, codebooks: usize) -> u64 {
        let convolutions = seanet.all().map(ConvLayout::values).sum::<u64>();
        convolutions + self.transformer_shape().values() + quantizer::values(self, codebooks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::fixture::Fixture;
    use crate::model::weights::Weights;

    #[test]
    fn every_weight_that_is_loaded_is_counted() {
        for name in ["tiny-1b", "tiny-2.6b"] {
            let config = Fixture::open(name).config;
            let lm = Weights::open(&config.lm_file).unwrap();
            assert_eq!(config.lm.values(), lm.elements(), "{name}");
        }
        for name in ["tiny-1b", "tiny-delay"] {
            let codec = Weights::open(&Fixture::open(name).config.codec_file).unwrap();
            let mimi = MimiConfig::of(&codec).unwrap();
            let q = &mimi.quantizer;
            // The files have the decoder's projections, too, and a flag per codebook.
            let unused = (2 * q.dimension * mimi.dimension + q.n_q) as u64;
            assert_eq!(mimi.encoder_values(q.n_q) + unused, codec.elements(), "{name}");
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_refused_with_the_number_that_does() {
        let plan = MemoryPlan {
            weights: 100,
            row: 7,
            slot: 3,
        };
        assert!(plan.check(5, Some(170), 20).is_ok());
        assert!(plan.check(6, None, 20).is_ok());
        let refused = plan.check(6, Some(170), 20).unwrap_err();
        assert!(
            matches!(refused, LoadError::Memory { rows: 6, fit: 5, .. }),
            "{refused}"
        );
        assert_eq!(plan.total(5), 150);
    }
}
