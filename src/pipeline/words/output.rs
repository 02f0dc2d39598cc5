//! What one tick of the engine tells the words stage: columns, reused from tick to tick.

use std::time::Instant;

use super::outbox::OutboxTx;
use crate::model::StepOutput;
use crate::stream::end::EndReason;
use crate::stream::ids::RowKey;

/// Something that happened to a row.
pub enum RowEvent {
    /// A session took the row.
    Opened(OutboxTx),
    /// The model's state of the row was reset.
    Ready,
    /// All audio up to here was heard to its end: announce words that are still open.
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
    Failed(EndReason),
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
    pub heard: Vec<u16>,
    /// When the last of them came; none where there were none.
    pub arrived: Vec<Option<Instant>>,
    /// Samples that wait in each row.
    pub buffered: Vec<u32>,
    /// Tokens and pause probabilities, in the order of `keys`.
    pub step: StepOutput,
    pub after: Vec<(RowKey, RowEvent)>,
}

impl TickOutput {
    #[must_use]
    pub fn new(rows: usize, heads: usize) -> Self {
        Self {
            before: Vec::with_capacity(rows),
            keys: Vec::with_capacity(rows),
            heard: Vec::with_capacity(rows),
            arrived: Vec::with_capacity(rows),
            buffered: Vec::with_capacity(rows),
            step: StepOutput {
                tokens: Vec::with_capacity(rows),
                pauses: Vec::with_capacity(rows * heads),
                ..StepOutput::default()
            },
            after: Vec::with_capacity(rows),
        }
    }

    /// True when there is nothing to tell.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.before.is_empty() && self.keys.is_empty() && self.after.is_empty()
    }

    /// Forgets everything and keeps the storage.
    pub fn clear(&mut self) {
        let Self {
            before,
            keys,
            heard,
            arrived,
            buffered,
            step,
            after,
        } = self;
        before.clear();
        keys.clear();
        heard.clear();
        arrived.clear();
        buffered.clear();
        step.clear();
        after.clear();
    }
}
