//! Which processor computes the model. Chosen explicitly: asking for a GPU never falls back to the CPU in silence.

use std::str::FromStr;

use super::error::LoadError;

/// Where a model runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    Cpu,
}

impl FromStr for Device {
    type Err = LoadError;

    /// `cpu`, `cuda:N` or `auto` (the best this build and machine offer).
    fn from_str(s: &str) -> Result<Self, LoadError> {
        match s {
            "cpu" | "auto" => Ok(Self::Cpu),
            "cuda" => Err(LoadError::NoCuda(s.to_owned())),
            _ if s.strip_prefix("cuda:").is_some_and(|n| n.parse::<u8>().is_ok()) => {
                Err(LoadError::NoCuda(s.to_owned()))
            }
            _ => Err(LoadError::UnknownDevice(s.to_owned())),
        }
    }
}
