//! Streaming models over batch rows. Knows tensors and rows; knows no sessions and no sockets.

mod conditioning;
mod cpu;
#[cfg(all(test, not(feature = "cuda")))]
mod cuda;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod device;
pub mod error;
mod kv_cache;
mod lm;
mod memory;
pub mod mimi;
mod sampling;
pub mod scripted;
mod stt;
pub mod tokenizer;
mod transformer;
mod weights;

use std::time::Duration;

pub use stt::{LoadOptions, Loaded, delay_frames, load};

use crate::stream::ids::RowId;

/// What the pipeline must know of a model.
#[derive(Clone, Debug)]
pub struct ModelSpec {
    /// Rows the model has state for.
    pub rows: usize,
    /// Audio sample rate in Hz (24 000 for Mimi).
    pub sample_rate: u32,
    /// Samples per frame and row (1 920 = 80 ms).
    pub frame_samples: usize,
    /// Text lags audio by this many frames (`asr_delay_in_tokens`).
    pub delay_frames: u32,
    /// Pause probabilities per step and row; 0 when the checkpoint has no extra heads.
    pub vad_heads: usize,
    /// Bytes of state one row costs.
    pub bytes_per_row: u64,
}

/// Results of one step, in the order of the rows given. Reused between steps.
#[derive(Clone, Debug, Default)]
pub struct StepOutput {
    /// One text token a row.
    pub tokens: Vec<u32>,
    /// `rows × vad_heads` probabilities that there is no speech for the next 0.5, 1, 2, 3 s.
    pub pauses: Vec<f32>,
    /// Time spent in the codec, and what the language model took after that. On a GPU they run side by side.
    pub codec: Duration,
    pub lm: Duration,
}

/// A failed step. The engine treats it as fatal.
#[derive(Debug, thiserror::Error)]
#[error("model step failed: {0}")]
pub struct ModelError(pub String);

/// A batched streaming model. A row's output depends on nothing but its own audio and seed.
pub trait StreamModel: Send {
    fn spec(&self) -> &ModelSpec;
    /// Returns `row` to the state of a fresh stream; `seed` drives its sampling.
    fn reset_row(&mut self, row: RowId, seed: u64);
    /// Advances each of `rows` (distinct) by one frame. `pcm` is `rows.len() × frame_samples`, row after row, in [-1, 1].
    fn step(&mut self, rows: &[RowId], pcm: &[f32], out: &mut StepOutput) -> Result<(), ModelError>;
}

#[cfg(test)]
mod tests;
