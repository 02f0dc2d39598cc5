//! What the engine keeps of a row that speaks.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use super::bounds::Bounds;
use crate::model::Readiness;
use crate::stream::text::TextEntry;
use crate::stream::voice::{Speaker, Voice};

/// What a row is told, in its order.
pub enum Saying {
    Entry {
        entry: TextEntry,
        /// What the client is told of it.
        text: Box<str>,
    },
    Voice(Arc<Voice>),
    /// Speak all before it to its end.
    Stop(DryStop),
}

/// A request to speak all text so far to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DryStop {
    pub asked: Instant,
    /// Whether the stream is over then.
    pub last: bool,
}

/// The component of one row.
pub struct Speaking {
    /// With what the model's state of the row is prepared after each reset.
    pub speaker: Speaker,
    /// What waits for the model.
    pub queue: VecDeque<Saying>,
    /// Entries that the model was given since the last reset.
    pub given: u32,
    /// Entries of them that it has begun to say.
    pub begun: u32,
    /// The request that the row is running dry for.
    pub stop: Option<DryStop>,
    /// Cancels to tell the client of once the row is reset.
    pub cancels: u32,
    /// The client was told that the row is ready.
    pub is_ready: bool,
    /// Whether the row can step, as the model said at this tick.
    pub readiness: Readiness,
    /// The row has waited for its client since its last step: for text, or for room for its output.
    pub waited: bool,
}

impl Speaking {
    /// The component of an unused row.
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        Self {
            speaker: Speaker::default(),
            queue: VecDeque::with_capacity(bounds.controls() + 1),
            given: 0,
            begun: 0,
            stop: None,
            cancels: 0,
            is_ready: false,
            readiness: Readiness::Waits,
            waited: false,
        }
    }

    /// Makes it that of an unused row.
    pub fn wipe(&mut self) {
        let Self {
            speaker,
            queue,
            given,
            begun,
            stop,
            cancels,
            is_ready,
            readiness,
            waited,
        } = self;
        *speaker = Speaker::default();
        queue.clear();
        (*given, *begun, *stop) = (0, 0, None);
        (*cancels, *is_ready, *waited) = (0, false, false);
        *readiness = Readiness::Waits;
    }

    /// Forgets all that was to be said. Returns how many messages of the client that were: each holds its charge.
    pub fn forget(&mut self) -> u32 {
        let held = self.queue.len() as u32 + (self.given - self.begun) + u32::from(self.stop.is_some());
        self.queue.clear();
        (self.given, self.begun, self.stop) = (0, 0, None);
        held
    }
}
