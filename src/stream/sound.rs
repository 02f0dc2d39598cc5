//! A frame of audio on its way to a client.

use std::fmt;
use std::sync::Arc;

use super::frame::FRAME_SAMPLES;

/// Storage of a frame.
pub type Samples = Box<[f32; FRAME_SAMPLES]>;

/// Takes the storage of frames back, to be used again.
pub trait Reuse: Send + Sync {
    fn take_back(&self, samples: Samples);
}

/// A frame of samples in [-1, 1] at 24 kHz. Dropping it gives its storage back to where it came from.
pub struct Sound {
    /// None only while dropping.
    samples: Option<Samples>,
    home: Option<Arc<dyn Reuse>>,
}

impl Sound {
    /// A frame in `samples`, which go back to `home` when it is dropped.
    #[must_use]
    pub fn new(samples: Samples, home: Option<Arc<dyn Reuse>>) -> Self {
        let samples = Some(samples);
        Self { samples, home }
    }

    /// Returns the samples.
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        self.samples.as_ref().map_or(&[], |samples| &samples[..])
    }
}

impl Drop for Sound {
    fn drop(&mut self) {
        if let (Some(samples), Some(home)) = (self.samples.take(), &self.home) {
            home.take_back(samples);
        }
    }
}

impl Clone for Sound {
    /// Copies the samples into storage of their own.
    fn clone(&self) -> Self {
        Self {
            samples: self.samples.clone(),
            home: None,
        }
    }
}

impl PartialEq for Sound {
    fn eq(&self, other: &Self) -> bool {
        self.samples() == other.samples()
    }
}

impl fmt::Debug for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sound({} samples)", self.samples().len())
    }
}
