//! Streaming models over batch rows. Knows tensors and rows; knows no sessions and no sockets.
//!
//! [`layout`] describes a model as data: shapes, tensor names, memory. Two engines compute it with files of the same
//! names, `cpu` and `cuda`. A kind of model (`stt`, `tts`) says which parts a step has and in which order.

pub mod codec;
mod conditioning;
mod cpu;
#[cfg(all(test, not(feature = "cuda")))]
mod cuda;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod error;
pub mod layout;
pub mod scripted;
mod step;
pub mod stt;
pub mod tokenizer;
pub mod tts;
pub mod voice_file;
#[allow(unsafe_code, reason = "memory maps")]
mod weights;

pub use step::{ModelError, Part, PartTimes, Ports, Readiness, Spec, Spoken, StepIo, StepOutput, Tail};
pub use stt::{LoadOptions, Loaded, load};

use std::sync::Arc;

use crate::stream::ids::RowId;
use crate::stream::text::TextEntry;
use crate::stream::voice::{Sampling, Voice};

/// A batched streaming model. A row's output depends on nothing but its own input and seed.
pub trait StreamModel: Send {
    /// Returns what the pipeline must know of the model.
    fn spec(&self) -> &Spec;

    /// Returns `row` to the state of a fresh stream; `seed` drives its sampling.
    fn reset_row(&mut self, row: RowId, seed: u64);

    /// Advances each row of `io` by one frame.
    ///
    /// # Errors
    /// The input does not fit the model, or the device failed. The state of all rows is lost.
    fn step(&mut self, io: &mut StepIo<'_>) -> Result<(), ModelError>;

    /// Sets how `row` samples from its next step on. Models without a choice leave it out.
    fn set_sampling(&mut self, _row: RowId, _sampling: &Sampling) {}

    /// Sets the voice of `row`, before its first step. For models with text in.
    ///
    /// # Errors
    /// The voice has another shape than the model takes: words for the client.
    fn set_voice(&mut self, _row: RowId, _voice: &Arc<Voice>) -> Result<(), ModelError> {
        Ok(())
    }

    /// Gives `row` the next thing to say. For models with text in. What may wait in a row is bounded by the caller.
    fn push_text(&mut self, _row: RowId, _entry: TextEntry) {}

    /// Tells that `row` is given nothing more. For models with text in.
    fn end_text(&mut self, _row: RowId) {}

    /// Returns whether `row` can step. Models without text in can whenever they have audio.
    fn readiness(&self, _row: RowId) -> Readiness {
        Readiness::Full
    }
}

#[cfg(test)]
mod tests;
