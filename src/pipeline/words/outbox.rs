//! The outbox of one session: where the threads hand words to the async side. Nothing here waits for a socket.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::mpsc;

use crate::protocol::close::{CloseReason, TABLE};
use crate::protocol::server::ServerMsg;

/// The words stage's end. Dropping it ends the session's output; [`OutboxTx::finish`] says why.
pub struct OutboxTx {
    messages: mpsc::Sender<ServerMsg>,
    end: Arc<AtomicU8>,
}

/// The writer's end.
pub struct OutboxRx {
    messages: mpsc::Receiver<ServerMsg>,
    end: Arc<AtomicU8>,
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
        let end = Arc::new(AtomicU8::new(CloseReason::EngineFailed as u8));
        let receiver = OutboxRx {
            messages: rx,
            end: Arc::clone(&end),
        };
        (Self { messages: tx, end }, receiver)
    }

    /// Hands over `message`.
    pub fn send(&self, message: ServerMsg) -> Result<(), NotTaken> {
        self.messages.try_send(message).map_err(|_| NotTaken)
    }

    /// Nothing more follows, because of `reason`.
    pub fn finish(self, reason: CloseReason) {
        self.end.store(reason as u8, Ordering::Release);
    }
}

impl OutboxRx {
    /// The next message, or why there are no more. Safe to cancel.
    pub async fn recv(&mut self) -> Result<ServerMsg, CloseReason> {
        match self.messages.recv().await {
            Some(message) => Ok(message),
            None => Err(TABLE[usize::from(self.end.load(Ordering::Acquire))].reason),
        }
    }

    /// The next message if it is there already.
    pub fn try_recv(&mut self) -> Option<ServerMsg> {
        self.messages.try_recv().ok()
    }
}
