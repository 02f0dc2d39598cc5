//! The outbox of one session: where the output stage hands events to the async side. Nothing here waits for a socket.
//!
//! Events of a step hold credits that the engine took before the step and that come back when the writer takes the event.
//! So a client that does not read stalls its own row and nobody else.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;

use super::credits::Credits;
use crate::stream::end::{End, EndReason};
use crate::stream::output::Output;

/// Most events of one step of one row: the step itself, a word, and its end. The engine takes so many credits for each.
pub const STEP_EVENTS: u32 = 3;

struct Shared {
    /// Why the output is over. A sender that is dropped without a word has failed.
    end: OnceLock<End>,
    /// Credits for the events of steps.
    room: Arc<Credits>,
    /// The session, when it waits for the client to read.
    reader: AtomicWaker,
    /// Frames of speech that the writer took.
    sounds: AtomicU64,
    /// Cancels that the session has asked for and the writer has not met yet. Speech in front of them is dropped.
    cancels: AtomicU32,
}

pub(super) struct Event {
    output: Output,
    /// It belongs to a step and holds a credit.
    of_step: bool,
}

/// The output stage's end. Dropping it ends the session's output; [`OutboxTx::finish`] says why.
pub struct OutboxTx {
    events: mpsc::Sender<Event>,
    shared: Arc<Shared>,
}

/// The writer's end.
pub struct OutboxRx {
    events: mpsc::Receiver<Event>,
    shared: Arc<Shared>,
}

/// The session's view: whether the client keeps up with its output.
pub struct OutboxRoom {
    // Weak, as the outbox is over when its one sender is gone.
    events: mpsc::WeakSender<Event>,
    shared: Arc<Shared>,
}

/// The event was not taken: the writer is gone, or, which credits exclude, the outbox is full.
#[derive(Debug, PartialEq, Eq)]
pub struct NotTaken;

impl OutboxTx {
    pub(super) fn pair(
        tx: mpsc::Sender<Event>,
        rx: mpsc::Receiver<Event>,
        room: Credits,
    ) -> (Self, OutboxRx) {
        let shared = Arc::new(Shared {
            end: OnceLock::new(),
            room: Arc::new(room),
            reader: AtomicWaker::new(),
            sounds: AtomicU64::new(0),
            cancels: AtomicU32::new(0),
        });
        let receiver = OutboxRx {
            events: rx,
            shared: Arc::clone(&shared),
        };
        (Self { events: tx, shared }, receiver)
    }

    /// Returns the session's view of the room there is.
    #[must_use]
    pub fn room(&self) -> OutboxRoom {
        OutboxRoom {
            events: self.events.downgrade(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Returns the credits that the engine takes [`STEP_EVENTS`] of before each step.
    #[must_use]
    pub fn credits(&self) -> &Arc<Credits> {
        &self.shared.room
    }

    /// Hands over an event that belongs to no step.
    ///
    /// # Errors
    /// The writer is gone.
    pub fn send(&self, output: Output) -> Result<(), NotTaken> {
        self.put(output, false)
    }

    /// Hands over an event of a step; it takes over one of the step's credits.
    ///
    /// # Errors
    /// The writer is gone.
    pub fn send_of_step(&self, output: Output) -> Result<(), NotTaken> {
        self.put(output, true)
    }

    fn put(&self, output: Output, of_step: bool) -> Result<(), NotTaken> {
        self.events
            .try_send(Event { output, of_step })
            .map_err(|_| NotTaken)
    }

    /// Ends the output.
    pub fn finish(self, end: impl Into<End>) {
        // Only the first end counts, and nobody else can have set one.
        let _ = self.shared.end.set(end.into());
    }
}

impl OutboxRoom {
    /// Whether at least half of the outbox is free, or it is over.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.events
            .upgrade()
            .is_none_or(|events| half(events.capacity(), events.max_capacity()))
    }

    /// Waits until [`Self::is_free`]. Safe to cancel; only one task may wait.
    pub async fn free(&self) {
        poll_fn(|context| {
            if self.is_free() {
                return Poll::Ready(());
            }
            self.shared.reader.register(context.waker());
            // It may have come between the look and the registration.
            if self.is_free() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Whether the engine could step: if not, the client has not taken the output of earlier steps.
    #[must_use]
    pub fn has_credits(&self) -> bool {
        self.shared.room.has(STEP_EVENTS)
    }

    /// Returns the number of frames of speech that the client's writer has taken.
    #[must_use]
    pub fn sounds(&self) -> u64 {
        self.shared.sounds.load(Ordering::Relaxed)
    }

    /// Drops the speech that the client has not taken, up to the next [`Output::Cancelled`].
    pub fn cancel(&self) {
        self.shared.cancels.fetch_add(1, Ordering::AcqRel);
    }
}

fn half(free: usize, all: usize) -> bool {
    2 * free >= all
}

impl OutboxRx {
    /// Returns the next event, or why there are no more. Safe to cancel.
    ///
    /// # Errors
    /// The output is over, for the reason returned.
    pub async fn recv(&mut self) -> Result<Output, End> {
        while let Some(event) = self.events.recv().await {
            if let Some(output) = self.took(event) {
                return Ok(output);
            }
        }
        let end = self.shared.end.get().cloned();
        Err(end.unwrap_or_else(|| EndReason::EngineFailed.into()))
    }

    /// Returns the next event if it is there already.
    pub fn try_recv(&mut self) -> Option<Output> {
        loop {
            let event = self.events.try_recv().ok()?;
            if let Some(output) = self.took(event) {
                return Some(output);
            }
        }
    }

    /// True when no event is there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    // None for speech that was cancelled.
    fn took(&self, event: Event) -> Option<Output> {
        if event.of_step {
            self.shared.room.give(1);
        }
        if half(self.events.capacity(), self.events.max_capacity()) {
            self.shared.reader.wake();
        }
        let cancels = &self.shared.cancels;
        match &event.output {
            Output::Sound(_) | Output::Spoken { .. } if cancels.load(Ordering::Acquire) > 0 => return None,
            Output::Sound(_) => {
                self.shared.sounds.fetch_add(1, Ordering::Relaxed);
            }
            Output::Cancelled { .. } => {
                let less = |cancels: u32| cancels.checked_sub(1);
                // A cancel that the session did not ask for drops nothing.
                let _ = cancels.fetch_update(Ordering::AcqRel, Ordering::Acquire, less);
            }
            _ => {}
        }
        Some(event.output)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::links;
    use super::*;

    #[tokio::test]
    async fn room_is_waited_for_until_half_of_it_is_free() {
        let (tx, mut rx) = links::outbox(3, 1);
        let room = Arc::new(tx.room());
        for _ in 0..4 {
            assert!(room.is_free());
            tx.send(Output::Ready).unwrap();
        }
        room.free().await;
        tx.send(Output::Ready).unwrap();
        tx.send(Output::Ready).unwrap();
        let waiting = tokio::spawn({
            let room = Arc::clone(&room);
            async move { room.free().await }
        });
        tokio::task::yield_now().await;
        rx.recv().await.unwrap();
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        rx.try_recv().unwrap();
        waiting.await.unwrap();
    }

    #[tokio::test]
    async fn what_is_over_has_room() {
        let (tx, mut rx) = links::outbox(1, 0);
        let room = tx.room();
        tx.send(Output::Ready).unwrap();
        tx.send(Output::Ready).unwrap();
        assert!(!room.is_free());
        tx.finish(EndReason::Done);
        room.free().await;
        rx.recv().await.unwrap();
        rx.recv().await.unwrap();
        assert_eq!(rx.recv().await, Err(EndReason::Done.into()));
    }

    #[tokio::test]
    async fn credits_of_a_step_come_back_when_its_events_are_taken() {
        let (tx, mut rx) = links::outbox(3, 0);
        let (credits, room) = (Arc::clone(tx.credits()), tx.room());
        assert!(room.has_credits() && credits.try_take(STEP_EVENTS));
        tx.send_of_step(Output::Ready).unwrap();
        // The step had one event of the three it might have had.
        credits.give(2);
        tx.send(Output::Flushed).unwrap();
        assert!(!room.has_credits());
        assert_eq!(rx.recv().await, Ok(Output::Ready));
        assert!(room.has_credits());
        assert_eq!(rx.try_recv(), Some(Output::Flushed));
        assert_eq!(credits.in_flight(), 0);
    }
}
