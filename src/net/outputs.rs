//! What a session says to a client that is no socket.

use tokio::sync::oneshot;

use crate::pipeline::outbox::OutboxRx;
use crate::session::connection::WriteHalf;
use crate::stream::end::{End, EndReason};
use crate::stream::output::Output;

/// The output of one session, taken as a writer takes it.
pub(super) struct Outputs {
    outbox: OutboxRx,
    over: Option<oneshot::Sender<End>>,
    close: oneshot::Receiver<End>,
}

impl Outputs {
    pub(super) fn new(from: WriteHalf) -> Self {
        let WriteHalf {
            outbox,
            // Queue position and renewal are for those who are connected.
            side: _,
            over,
            close,
        } = from;
        Self {
            outbox,
            over: Some(over),
            close,
        }
    }

    /// The next event. Safe to cancel.
    ///
    /// # Errors
    /// The session has ended; it is not to be asked again.
    pub(super) async fn next(&mut self) -> Result<Output, End> {
        let failed = |_| End::from(EndReason::EngineFailed);
        if self.over.is_some() {
            let end = tokio::select! {
                end = &mut self.close => return Err(end.unwrap_or_else(failed)),
                output = self.outbox.recv() => match output {
                    Ok(output) => return Ok(output),
                    Err(end) => end,
                },
            };
            if let Some(over) = self.over.take() {
                // The session decides what it means.
                let _ = over.send(end);
            }
        }
        (&mut self.close).await.map_or_else(|e| Err(failed(e)), Err)
    }
}
