//! Which processor computes the model. Chosen explicitly: asking for a GPU never falls back to the CPU in silence.

use std::str::FromStr;

use super::error::LoadError;

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
    /// The NVIDIA GPU of this number, which was there when the name was read.
    #[cfg(feature = "cuda")]
    Cuda(usize),
}

impl FromStr for Device {
    type Err = LoadError;

    /// `cpu`, `cuda:N` or `auto` (the best this build and machine offer).
    fn from_str(s: &str) -> Result<Self, LoadError> {
        match s {
            "cpu" => Ok(Self::Cpu),
            "auto" => Ok(best()),
            "cuda" => cuda(s, 0),
            _ => match s.strip_prefix("cuda:").map(str::parse::<u8>) {
                Some(Ok(n)) => cuda(s, usize::from(n)),
                _ => Err(LoadError::UnknownDevice(s.to_owned())),
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

#[cfg(not(feature = "cuda"))]
fn best() -> Device {
    Device::Cpu
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _: usize) -> Result<Device, LoadError> {
    Err(LoadError::NoCuda(name.to_owned()))
}
