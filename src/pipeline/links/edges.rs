//! The queues between threads and tasks.

use tokio::sync::mpsc;

use crate::pipeline::credits::Credits;
use crate::pipeline::outbox::{OutboxRx, OutboxTx, STEP_EVENTS};

/// Messages of the session itself that wait for its writer.
const SIDE: usize = 8;

/// Events of one stream that its client's writer has not taken: `steps` of steps, for which the engine takes credits, and
/// `answers` to control messages that were under way when the client stopped reading. A session takes no further input
/// while half of the outbox is in use, so it cannot overflow.
#[must_use]
pub fn outbox(steps: usize, answers: usize) -> (OutboxTx, OutboxRx) {
    let (tx, rx) = mpsc::channel(2 * (steps + answers));
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    OutboxTx::pair(tx, rx, Credits::new(steps.max(STEP_EVENTS)))
}

/// Messages read from one socket that its session has not taken.
#[must_use]
pub fn inbox<T>(messages: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(messages)
}

/// Messages of a session and its reader besides the stream's output. A message that finds the queue full is dropped.
#[must_use]
pub fn side<T>() -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(SIDE)
}

/// Channel on which stage threads report their exit.
#[must_use]
pub fn ends<T>(threads: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(threads.max(1))
}
