//! Number formats of weights, keys and values: their names in a configuration, their sizes, and which of them an engine
//! holds.

use std::str::FromStr;

use crate::model::error::LoadError;

/// Weights of [`WeightFormat::Q8`] that share one scale.
pub(crate) const Q8_BLOCK: usize = 32;

/// How the language model's weights are held in memory. Products and sums are always f32.
///
/// ```
/// use moshi_server::model::layout::dtype::WeightFormat;
/// assert_eq!("q8_0".parse(), Ok(WeightFormat::Q8));
/// assert_eq!(WeightFormat::Bf16.bytes(1000), 2000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WeightFormat {
    F32,
    Bf16,
    F16,
    /// Blocks of 32 eight-bit integers with one f16 scale (`max |w| / 127`), quantised when the checkpoint is loaded.
    Q8,
}

impl WeightFormat {
    /// Names in a configuration (`dtype_override`).
    pub const NAMES: [&str; 4] = ["f32", "bf16", "f16", "q8_0"];

    /// Returns the bytes of `n` weights.
    #[must_use]
    pub fn bytes(self, n: u64) -> u64 {
        match self {
            Self::F32 => n * 4,
            Self::Bf16 | Self::F16 => n * 2,
            Self::Q8 => n + n / Q8_BLOCK as u64 * 2,
        }
    }
}

impl FromStr for WeightFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "f16" => Ok(Self::F16),
            "q8_0" => Ok(Self::Q8),
            _ => Err(UnknownFormat::new(name, &Self::NAMES)),
        }
    }
}

/// How the language model's keys and values are asked to be held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KvFormat {
    F32,
    Bf16,
    Fp8,
}

impl KvFormat {
    /// Names in a configuration (`kv_cache_dtype`).
    pub const NAMES: [&str; 3] = ["f32", "bf16", "fp8"];
}

impl FromStr for KvFormat {
    type Err = UnknownFormat;

    fn from_str(name: &str) -> Result<Self, UnknownFormat> {
        match name {
            "f32" => Ok(Self::F32),
            "bf16" => Ok(Self::Bf16),
            "fp8" => Ok(Self::Fp8),
            _ => Err(UnknownFormat::new(name, &Self::NAMES)),
        }
    }
}

/// A name that is no number format.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown dtype `{name}`: use one of {known}")]
pub struct UnknownFormat {
    name: String,
    known: String,
}

impl UnknownFormat {
    fn new(name: &str, known: &[&str]) -> Self {
        Self {
            name: name.to_owned(),
            known: known.join(", "),
        }
    }
}

/// Number format of weights on a GPU, of what is multiplied with them, and of keys and values. Sums are always f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Real {
    F32,
    Bf16,
}

impl Real {
    /// Returns the bytes of one number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

/// Number format of keys and values in the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cache {
    Plain(Real),
    /// Eight bits (E4M3), with an f32 factor per key and value of a head.
    Fp8,
}

impl Cache {
    /// Returns the bytes of one key or value of a head.
    pub(crate) fn bytes(self, head_dim: usize) -> usize {
        match self {
            Self::Plain(real) => head_dim * real.bytes(),
            Self::Fp8 => head_dim + size_of::<f32>(),
        }
    }
}

impl From<KvFormat> for Cache {
    fn from(format: KvFormat) -> Self {
        match format {
            KvFormat::F32 => Self::Plain(Real::F32),
            KvFormat::Bf16 => Self::Plain(Real::Bf16),
            KvFormat::Fp8 => Self::Fp8,
        }
    }
}

/// Returns how a CPU holds keys and values.
///
/// # Errors
/// The format is one that only GPUs have.
pub(crate) fn cpu_cache(asked: Option<KvFormat>) -> Result<Real, LoadError> {
    match asked {
        None | Some(KvFormat::F32) => Ok(Real::F32),
        Some(KvFormat::Bf16) => Ok(Real::Bf16),
        Some(KvFormat::Fp8) => Err(LoadError::Config(
            "kv_cache_dtype `fp8` is not for CPUs, where keys and values are held as f32 or bf16".to_owned(),
        )),
    }
}

/// Returns how a GPU holds the weights: as asked for; without that as bf16 where the `file` has bf16, else as f32.
///
/// # Errors
/// The format is one that only CPUs have.
#[cfg(any(test, feature = "cuda"))]
pub(crate) fn gpu_weights(asked: Option<WeightFormat>, file: WeightFormat) -> Result<Real, LoadError> {
    let name = match asked {
        None if file == WeightFormat::Bf16 => return Ok(Real::Bf16),
        None | Some(WeightFormat::F32) => return Ok(Real::F32),
        Some(WeightFormat::Bf16) => return Ok(Real::Bf16),
        Some(WeightFormat::F16) => "f16",
        Some(WeightFormat::Q8) => "q8_0",
    };
    Err(LoadError::Config(format!(
        "dtype_override `{name}` is for CPUs: a GPU holds weights as bf16 or f32"
    )))
}

/// Returns how a GPU holds keys and values beside weights in `real`: like the weights unless fp8 is asked for.
///
/// # Errors
/// There are no kernels for the combination.
#[cfg(any(test, feature = "cuda"))]
pub(crate) fn gpu_cache(asked: Option<KvFormat>, real: Real) -> Result<Cache, LoadError> {
    match (asked, real) {
        (None, _) | (Some(KvFormat::F32), Real::F32) | (Some(KvFormat::Bf16), Real::Bf16) => {
            Ok(Cache::Plain(real))
        }
        (Some(KvFormat::Fp8), Real::Bf16) => Ok(Cache::Fp8),
        (Some(KvFormat::Fp8), Real::F32) => Err(LoadError::Config(
            "kv_cache_dtype `fp8` goes with weights in bf16: set dtype_override = \"bf16\", or leave it out"
                .to_owned(),
        )),
        (Some(KvFormat::F32 | KvFormat::Bf16), _) => Err(LoadError::Config(format!(
            "kv_cache_dtype does not go with weights in {real:?} on a GPU: leave it out to hold keys and values alike"
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_format_and_others_are_refused_with_the_names() {
        assert!(
            WeightFormat::NAMES
                .iter()
                .all(|name| name.parse::<WeightFormat>().is_ok())
        );
        assert!(
            KvFormat::NAMES
                .iter()
                .all(|name| name.parse::<KvFormat>().is_ok())
        );
        let message = "int4".parse::<WeightFormat>().unwrap_err().to_string();
        assert!(message.contains("int4") && message.contains("q8_0"), "{message}");
        let message = "int4".parse::<KvFormat>().unwrap_err().to_string();
        assert!(message.contains("int4") && message.contains("fp8"), "{message}");
    }

    #[test]
    fn a_gpu_holds_what_the_file_has_unless_told_otherwise() {
        let weights = |asked, file| gpu_weights(asked, file).ok();
        assert_eq!(weights(None, WeightFormat::Bf16), Some(Real::Bf16));
        assert_eq!(weights(None, WeightFormat::F16), Some(Real::F32));
        assert_eq!(
            weights(Some(WeightFormat::F32), WeightFormat::Bf16),
            Some(Real::F32)
        );
        assert_eq!(weights(Some(WeightFormat::Q8), WeightFormat::Bf16), None);
    }

    #[test]
    fn eight_bits_go_with_weights_of_sixteen_on_a_gpu_and_not_with_a_cpu() {
        assert_eq!(gpu_cache(Some(KvFormat::Fp8), Real::Bf16).ok(), Some(Cache::Fp8));
        assert_eq!(gpu_cache(Some(KvFormat::Fp8), Real::F32).ok(), None);
        assert_eq!(gpu_cache(Some(KvFormat::Bf16), Real::F32).ok(), None);
        assert_eq!(gpu_cache(None, Real::F32).ok(), Some(Cache::Plain(Real::F32)));
        assert!(cpu_cache(Some(KvFormat::Fp8)).is_err());
        assert_eq!(Cache::Fp8.bytes(64), 68);
    }
}
