//! The link from the input stage to the engine.

use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, bounded};

use super::error::LinkError;
use crate::pipeline::bounds::Bounds;
use crate::pipeline::messages::Pcm;

/// The input stage's end of the link to the engine.
#[derive(Clone)]
pub struct PcmTx(Arc<Sender<Pcm>>);

impl PcmTx {
    /// Sends to the engine. Never waits.
    ///
    /// # Errors
    /// The engine has ended, or the link is full, which credits exclude.
    pub fn send(&self, message: Pcm) -> Result<(), LinkError> {
        Ok(self.0.try_send(message)?)
    }
}

impl PcmTx {
    /// Returns what wakes the engine when a client has taken output. It does not keep the link open.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Arc::new(EngineWaker(Arc::downgrade(&self.0))).into()
    }
}

struct EngineWaker(Weak<Sender<Pcm>>);

impl Wake for EngineWaker {
    fn wake(self: Arc<Self>) {
        if let Some(link) = self.0.upgrade() {
            // A full link wakes the engine by itself.
            let _ = link.try_send(Pcm::Wake);
        }
    }
}

/// The engine's end.
pub struct PcmRx(Receiver<Pcm>);

/// Result of a receive from [`PcmRx`].
pub enum Arrival {
    Message(Pcm),
    Nothing,
    Closed,
}

impl PcmRx {
    pub fn try_recv(&self) -> Arrival {
        match self.0.try_recv() {
            Ok(message) => Arrival::Message(message),
            Err(TryRecvError::Empty) => Arrival::Nothing,
            Err(TryRecvError::Disconnected) => Arrival::Closed,
        }
    }

    /// Waits for a message, until `deadline` if there is one.
    pub fn wait(&self, deadline: Option<Instant>) -> Arrival {
        let Some(deadline) = deadline else {
            return self.0.recv().map_or(Arrival::Closed, Arrival::Message);
        };
        match self.0.recv_deadline(deadline) {
            Ok(message) => Arrival::Message(message),
            Err(RecvTimeoutError::Timeout) => Arrival::Nothing,
            Err(RecvTimeoutError::Disconnected) => Arrival::Closed,
        }
    }

    /// Returns the number of messages in the link.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }
}

/// Makes the link from the input stage to the engine.
#[must_use]
pub fn pcm(bounds: Bounds) -> (PcmTx, PcmRx) {
    let (tx, rx) = bounded(bounds.rows * bounds.pieces());
    (PcmTx(Arc::new(tx)), PcmRx(rx))
}
