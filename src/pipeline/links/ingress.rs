//! The links from sessions to the threads of the input stage.

use std::sync::Arc;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::error::LinkError;
use crate::pipeline::bounds::Bounds;
use crate::pipeline::messages::Ingress;
use crate::stream::ids::RowKey;

/// The sessions' end of the links to the input stage.
#[derive(Clone)]
pub struct IngressTx {
    shards: Arc<[Sender<Ingress>]>,
}

impl IngressTx {
    /// Sends to the shard of the row. Never waits.
    ///
    /// # Errors
    /// The input stage has ended, or the link is full, which credits exclude.
    pub fn send(&self, key: RowKey, message: Ingress) -> Result<(), LinkError> {
        Ok(self.shards[key.row.index() % self.shards.len()].try_send(message)?)
    }

    /// Returns the number of messages in the links.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shards.iter().map(Sender::len).sum()
    }
}

/// The end of one shard of the input stage.
pub struct IngressRx(Receiver<Ingress>);

impl IngressRx {
    /// Waits for a message; none when all senders are gone.
    pub fn recv(&self) -> Option<Ingress> {
        self.0.recv().ok()
    }
}

/// Makes the links from sessions to the `shards` threads of the input stage.
#[must_use]
pub fn ingress(bounds: Bounds, shards: usize) -> (IngressTx, Vec<IngressRx>) {
    let rows_each = bounds.rows.div_ceil(shards);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards)
        .map(|_| bounded(rows_each * bounds.messages()))
        .unzip();
    let shards = senders.into();
    (
        IngressTx { shards },
        receivers.into_iter().map(IngressRx).collect(),
    )
}
