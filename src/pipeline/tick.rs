//! The output of one tick of the engine: columns, reused from tick to tick.

use std::time::Instant;

use super::outbox::OutboxTx;
use crate::model::{Spec, StepOutput};
use crate::stream::end::End;
use crate::stream::ids::RowKey;

/// Something that happened to a row.
pub enum RowEvent {
    /// A session took the row.
    Opened(OutboxTx),
    /// The model's state of the row was reset.
    Ready,
    /// All audio up to here was heard to its end: complete the words that are still open.
    Settled,
    Mark {
        id: i64,
        asked: Instant,
    },
    Flushed {
        asked: Instant,
    },
    /// The stream is over.
    Ended {
        asked: Instant,
    },
    Failed(End),
    /// The model was given a word or a pause, of which the client is told so.
    Given(Box<str>),
    /// All text so far was forgotten.
    Cancelled,
    /// The session left the row.
    Detached,
}

/// Output of one tick, in the order to apply it: `before`, the step, `after`.
#[derive(Default)]
pub struct TickOutput {
    pub before: Vec<(RowKey, RowEvent)>,
    /// Rows of the step.
    pub keys: Vec<RowKey>,
    /// Samples of each row's frame that came from its client; the rest was silence added by the engine.
    pub client_samples: Vec<u16>,
    /// When the last of the client's samples arrived; none where there were none.
    pub arrived: Vec<Option<Instant>>,
    /// Samples that wait in each row.
    pub buffered: Vec<u32>,
    /// Whether the row had waited for its client before this step: for text, or for room for its output.
    pub waited: Vec<bool>,
    /// Tokens and pause probabilities, in the order of `keys`.
    pub step: StepOutput,
    pub after: Vec<(RowKey, RowEvent)>,
}

impl TickOutput {
    #[must_use]
    pub fn new(spec: &Spec) -> Self {
        let rows = spec.rows;
        let frames = if spec.ports.audio_out { rows } else { 0 };
        Self {
            before: Vec::with_capacity(rows),
            keys: Vec::with_capacity(rows),
            client_samples: Vec::with_capacity(rows),
            arrived: Vec::with_capacity(rows),
            buffered: Vec::with_capacity(rows),
            waited: Vec::with_capacity(rows),
            step: StepOutput {
                tokens: Vec::with_capacity(rows),
                pauses: Vec::with_capacity(rows * spec.pause_heads),
                audio: Vec::with_capacity(frames * spec.frame_samples),
                sounds: Vec::with_capacity(frames),
                spoken: Vec::with_capacity(frames),
                ..StepOutput::default()
            },
            after: Vec::with_capacity(rows),
        }
    }

    /// True when the tick had no output.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.keys.is_empty() && self.after.is_empty()
    }

    /// Empties all columns and keeps their storage.
    pub fn clear(&mut self) {
        let Self {
            before,
            keys,
            client_samples,
            arrived,
            buffered,
            waited,
            step,
            after,
        } = self;
        before.clear();
        keys.clear();
        client_samples.clear();
        arrived.clear();
        buffered.clear();
        waited.clear();
        step.clear();
        after.clear();
    }
}
