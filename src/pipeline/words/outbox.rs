//! The outbox of one session: where the threads hand words to the async side. Nothing here waits for a socket.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;
use tokio::sync::mpsc;

use crate::protocol::server::ServerMsg;
use crate::stream::end::EndReason;

struct Shared {
    end: AtomicU8,
    /// Whoever waits for room.
    waits: AtomicWaker,
}

/// The words stage's end. Dropping it ends the session's output; [`OutboxTx::finish`] says why.
pub struct OutboxTx {
    messages: mpsc::Sender<ServerMsg>,
    shared: Arc<Shared>,
}

/// The writer's end.
pub struct OutboxRx {
    messages: mpsc::Receiver<ServerMsg>,
    shared: Arc<Shared>,
}

/// The session's view: whether the client keeps up with its words.
pub struct OutboxRoom {
    // Weak, as the outbox is over when its one sender is gone.
    messages: mpsc::WeakSender<ServerMsg>,
    shared: Arc<Shared>,
}

/// The message was not taken: the client reads too slowly, or its writer is gone.
#[derive(Debug, PartialEq, Eq)]
pub struct NotTaken;

impl OutboxTx {
    pub(in crate::pipeline) fn pair(
        tx: mpsc::Sender<ServerMsg>,
        rx: mpsc::Receiver<ServerMsg>,
    ) -> (Self, OutboxRx) {
        // Whoever vanishes without a word has failed.
        let shared = Arc::new(Shared {
            end: AtomicU8::new(EndReason::EngineFailed as u8),
            waits: AtomicWaker::new(),
        });
        let receiver = OutboxRx {
            messages: rx,
            shared: Arc::clone(&shared),
        };
        (Self { messages: tx, shared }, receiver)
    }

    /// A view of the room there is.
    #[must_use]
    pub fn room(&self) -> OutboxRoom {
        OutboxRoom {
            messages: self.messages.downgrade(),
            shared: Arc::clone(&self.shared),
        }
    }

    /// Hands over `message`.
    pub fn send(&self, message: ServerMsg) -> Result<(), NotTaken> {
        self.messages.try_send(message).map_err(|_| NotTaken)
    }

    /// Nothing more follows, because of `reason`.
    pub fn finish(self, reason: EndReason) {
        self.shared.end.store(reason as u8, Ordering::Release);
    }
}

impl OutboxRoom {
    /// Whether at least half of the outbox is free, or it is over.
    #[must_use]
    pub fn is_free(&self) -> bool {
        self.messages
            .upgrade()
            .is_none_or(|messages| enough(messages.capacity(), messages.max_capacity()))
    }

    /// Waits until [`Self::is_free`]. Safe to cancel; only one task may wait.
    pub async fn free(&self) {
        poll_fn(|context| {
            if self.is_free() {
                return Poll::Ready(());
            }
            self.shared.waits.register(context.waker());
            // It may have come between the look and the registration.
            if self.is_free() {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}

fn enough(free: usize, all: usize) -> bool {
    2 * free >= all
}

impl OutboxRx {
    /// The next message, or why there are no more. Safe to cancel.
    pub async fn recv(&mut self) -> Result<ServerMsg, EndReason> {
        match self.messages.recv().await {
            Some(message) => Ok(self.took(message)),
            None => Err(EndReason::ALL[usize::from(self.shared.end.load(Ordering::Acquire))]),
        }
    }

    /// The next message if it is there already.
    pub fn try_recv(&mut self) -> Option<ServerMsg> {
        let message = self.messages.try_recv().ok()?;
        Some(self.took(message))
    }

    fn took(&self, message: ServerMsg) -> ServerMsg {
        if enough(self.messages.capacity(), self.messages.max_capacity()) {
            self.shared.waits.wake();
        }
        message
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::super::links;
    use super::*;

    #[tokio::test]
    async fn room_is_waited_for_until_half_of_it_is_free() {
        let (tx, mut rx) = links::outbox(8);
        let room = Arc::new(tx.room());
        for _ in 0..4 {
            assert!(room.is_free());
            tx.send(ServerMsg::Ready).unwrap();
        }
        room.free().await;
        tx.send(ServerMsg::Ready).unwrap();
        tx.send(ServerMsg::Ready).unwrap();
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
        let (tx, mut rx) = links::outbox(1);
        let room = tx.room();
        tx.send(ServerMsg::Ready).unwrap();
        assert!(!room.is_free());
        tx.finish(EndReason::Done);
        room.free().await;
        rx.recv().await.unwrap();
        assert_eq!(rx.recv().await, Err(EndReason::Done));
    }
}
