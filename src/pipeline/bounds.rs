//! How much of one session can be in flight: every queue of the pipeline is sized by it.

use super::credits::MIN_CHARGE;
use crate::stream::frame::FRAME_SAMPLES;

/// How much one row can have in flight. The sizes of all queues follow from it.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows of the module.
    pub rows: usize,
    /// Credits of a session, in samples.
    pub credits: u32,
}

impl Bounds {
    /// Bounds for sessions that may be `frames_ahead` whole frames ahead of the model. One more frame pays for the
    /// samples that do not fill a frame yet.
    #[must_use]
    pub fn new(rows: usize, frames_ahead: usize) -> Self {
        let credits = (frames_ahead + 1) * FRAME_SAMPLES;
        Self {
            rows,
            credits: u32::try_from(credits).unwrap_or(u32::MAX),
        }
    }

    /// Returns the most a single message may cost: samples that do not fill a frame may hold the rest.
    #[must_use]
    pub fn largest_charge(&self) -> u32 {
        self.credits - FRAME_SAMPLES as u32
    }

    /// Messages of one row between session and input stage: all charged, besides one Attach and one Detach.
    pub(super) fn messages(&self) -> usize {
        (self.credits / MIN_CHARGE) as usize + 2
    }

    /// Returns the number of whole frames that one row can hold.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.credits as usize / FRAME_SAMPLES
    }

    /// Returns the number of control messages that one row can hold.
    #[must_use]
    pub fn controls(&self) -> usize {
        (self.credits / MIN_CHARGE) as usize
    }

    /// Messages of one row between input stage and engine: each control message may push a part of a frame ahead of it;
    /// besides Attach, Detach and a failure there is at most one wake-up.
    pub(super) fn pieces(&self) -> usize {
        self.frames() + 2 * self.controls() + 4
    }

    /// Most answers to the control messages of one row: the rest of a word, its end, and the answer itself.
    #[must_use]
    pub fn answers(&self) -> usize {
        3 * self.controls()
    }
}
