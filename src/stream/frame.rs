//! The frame: what a model of this family takes or makes in one step, and every constant that follows from it.
//!
//! Mimi works on 24 kHz mono audio and has 12.5 frames per second (Défossez et al., "Moshi", 2024, section 3.3), so one
//! frame is 80 ms or 1920 samples.

use std::time::Duration;

/// Sample rate of all audio between decoder and encoder, in Hz.
pub const SAMPLE_RATE: u32 = 24_000;

/// Samples in a frame of one row.
pub const FRAME_SAMPLES: usize = 1920;

/// Length of a frame.
pub const FRAME_DURATION: Duration = Duration::from_millis(1000 * FRAME_SAMPLES as u64 / SAMPLE_RATE as u64);

/// Frames per second.
pub const FRAME_RATE: f64 = SAMPLE_RATE as f64 / FRAME_SAMPLES as f64;

/// Length of `samples` samples at [`SAMPLE_RATE`], in seconds.
///
/// ```
/// use moshi_server::stream::frame::{FRAME_SAMPLES, seconds};
/// assert_eq!(seconds(FRAME_SAMPLES as u64), 0.08);
/// ```
#[must_use]
pub fn seconds(samples: u64) -> f64 {
    samples as f64 / f64::from(SAMPLE_RATE)
}
