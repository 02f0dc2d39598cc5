//! The processor that computes a model. Chosen explicitly: asking for a GPU never falls back to the CPU in silence.

use std::fmt;
use std::str::FromStr;

use super::error::LoadError;

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The NVIDIA GPU of this number, which existed when the name was parsed.
    #[cfg(feature = "cuda")]
    Cuda(usize),
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => f.write_str("cpu"),
            #[cfg(feature = "cuda")]
            Self::Cuda(ordinal) => write!(f, "cuda:{ordinal}"),
        }
    }
}

/// The devices of a module, each with a model and rows of its own: `cpu`, `auto`, `cuda:all`, or GPUs in a list as
/// `cuda:0,cuda:2`.
///
/// ```
/// use moshi_server::model::device::{Device, Devices};
/// let devices: Devices = "cpu".parse()?;
/// assert_eq!(devices.list(), [Device::Cpu]);
/// assert!("cpu,cpu".parse::<Devices>().is_err());
/// # Ok::<(), moshi_server::model::error::LoadError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Devices(Vec<Device>);

impl Devices {
    /// Returns the CPU alone.
    #[must_use]
    pub fn cpu() -> Self {
        Self(vec![Device::Cpu])
    }

    /// Returns the devices: at least one, none twice.
    #[must_use]
    pub fn list(&self) -> &[Device] {
        &self.0
    }
}

impl FromStr for Devices {
    type Err = LoadError;

    fn from_str(s: &str) -> Result<Self, LoadError> {
        if s == "cuda:all" {
            return every_gpu(s).map(Self);
        }
        let names: Vec<&str> = s.split(',').map(str::trim).collect();
        if let [one] = names[..] {
            return Ok(Self(vec![one.parse()?]));
        }
        let ordinal = |name: &&str| ordinal(name).ok_or_else(|| LoadError::DeviceList(s.to_owned()));
        let ordinals = names.iter().map(ordinal).collect::<Result<Vec<_>, _>>()?;
        for (i, ordinal) in ordinals.iter().enumerate() {
            if ordinals[..i].contains(ordinal) {
                return Err(LoadError::DeviceTwice(format!("cuda:{ordinal}")));
            }
        }
        let gpus = names.into_iter().zip(ordinals);
        Ok(Self(
            gpus.map(|(name, ordinal)| cuda(name, ordinal))
                .collect::<Result<_, _>>()?,
        ))
    }
}

/// Returns the number of the GPU called `name`.
fn ordinal(name: &str) -> Option<usize> {
    match name {
        "cuda" => Some(0),
        _ => name.strip_prefix("cuda:")?.parse::<u8>().ok().map(usize::from),
    }
}

impl FromStr for Device {
    type Err = LoadError;

    /// Parses `cpu`, `cuda:N` or `auto` (the best that this build and machine have).
    fn from_str(s: &str) -> Result<Self, LoadError> {
        match s {
            "cpu" => Ok(Self::Cpu),
            "auto" => Ok(best()),
            _ => match ordinal(s) {
                Some(ordinal) => cuda(s, ordinal),
                None => Err(LoadError::UnknownDevice(s.to_owned())),
            },
        }
    }
}

#[cfg(feature = "cuda")]
fn best() -> Device {
    match super::cuda::presence(0) {
        Ok(()) => Device::Cuda(0),
        Err(reason) => {
            tracing::info!("computing on the CPU: {reason}");
            Device::Cpu
        }
    }
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, ordinal: usize) -> Result<Device, LoadError> {
    match super::cuda::presence(ordinal) {
        Ok(()) => Ok(Device::Cuda(ordinal)),
        Err(reason) => Err(LoadError::NoGpu {
            device: name.to_owned(),
            reason,
        }),
    }
}

#[cfg(feature = "cuda")]
fn every_gpu(name: &str) -> Result<Vec<Device>, LoadError> {
    cuda(name, 0)?;
    (0..super::cuda::count())
        .map(|ordinal| cuda(name, ordinal))
        .collect()
}

#[cfg(not(feature = "cuda"))]
fn best() -> Device {
    Device::Cpu
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _: usize) -> Result<Device, LoadError> {
    Err(LoadError::NoCuda(name.to_owned()))
}

#[cfg(not(feature = "cuda"))]
fn every_gpu(name: &str) -> Result<Vec<Device>, LoadError> {
    Err(LoadError::NoCuda(name.to_owned()))
}
