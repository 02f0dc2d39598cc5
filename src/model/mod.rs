//! Streaming models over batch rows. Knows tensors and rows; knows no sessions and no sockets.
//!
//! [`layout`] describes a model as data: shapes, tensor names, memory. Two engines compute it with files of the same
//! names, `cpu` and `cuda`. A kind of model (`stt`) says which parts a step has and in which order.

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
#[allow(unsafe_code, reason = "memory maps")]
mod weights;

pub use step::{ModelError, Part, PartTimes, Ports, Spec, StepIo, StepOutput, Tail};
pub use stt::{LoadOptions, Loaded, load};

use crate::stream::ids::RowId;

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
}

#[cfg(test)]
mod tests;
