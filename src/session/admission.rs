//! Admission: who gets a row, who waits, who is refused. One queue a module, first come first served.
//!
//! The one mutex on the way of a session, held for a few instructions and never across an await. Sessions come to it once
//! at their start; the words stage comes once at each end.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::pipeline::ids::RowKey;
use crate::pipeline::rows::{RowLease, Rows};

/// Whether anyone is let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// No new sessions; those with a row keep it.
    Draining,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("no free channels")]
    Full,
    #[error("the server is stopping")]
    Stopping,
}

/// The queue for the rows of one module.
pub struct Admission {
    inner: Mutex<Inner>,
    queue_len: usize,
    total: usize,
}

struct Inner {
    /// None once the pipeline is being shut down.
    rows: Option<Rows>,
    waiting: VecDeque<Waiter>,
    next: u64,
    gate: Gate,
}

struct Waiter {
    number: u64,
    lease: oneshot::Sender<RowLease>,
    position: watch::Sender<u32>,
}

/// A place in the queue, or a row already. Dropping it leaves the queue.
pub struct Ticket {
    admission: Arc<Admission>,
    number: u64,
    lease: oneshot::Receiver<RowLease>,
    position: watch::Receiver<u32>,
    told: bool,
}

/// What happens to who waits.
pub enum Turn {
    Lease(RowLease),
    /// The place in the queue; 1 is next.
    Position(u32),
    /// Nobody is let in any more.
    Over,
}

impl Admission {
    /// Admission to `rows`, with up to `queue_len` sessions waiting.
    #[must_use]
    pub fn new(rows: Rows, queue_len: usize) -> Self {
        Self {
            total: rows.total(),
            inner: Mutex::new(Inner {
                rows: Some(rows),
                waiting: VecDeque::new(),
                next: 0,
                gate: Gate::Open,
            }),
            queue_len,
        }
    }

    /// Asks for a row.
    pub fn request(self: &Arc<Self>) -> Result<Ticket, Refused> {
        let mut inner = self.inner.lock();
        if inner.gate != Gate::Open {
            return Err(Refused::Stopping);
        }
        let leased = if inner.waiting.is_empty() {
            inner.lease()
        } else {
            None
        };
        if leased.is_none() && inner.waiting.len() >= self.queue_len {
            return Err(Refused::Full);
        }
        let number = inner.next;
        inner.next += 1;
        let (lease_tx, lease) = oneshot::channel();
        let (position_tx, position) = watch::channel(inner.waiting.len() as u32 + 1);
        match leased {
            // The other end is right here.
            Some(leased) => drop(lease_tx.send(leased)),
            None => inner.waiting.push_back(Waiter {
                number,
                lease: lease_tx,
                position: position_tx,
            }),
        }
        Ok(Ticket {
            admission: Arc::clone(self),
            number,
            lease,
            position,
            told: false,
        })
    }

    /// The lease `key` is over: its row goes to who waits longest.
    pub fn row_free(&self, key: RowKey) {
        let mut inner = self.inner.lock();
        if let Some(rows) = &mut inner.rows {
            rows.give_back(key);
        }
        inner.serve();
    }

    /// Lets nobody in any more. Those who wait are told at once.
    pub fn drain(&self) {
        let mut inner = self.inner.lock();
        inner.gate = Gate::Draining;
        inner.waiting.clear();
    }

    /// Gives up the rows, so that the pipeline ends with the last lease.
    pub fn shut(&self) {
        self.drain();
        self.inner.lock().rows = None;
    }

    /// Rows there are.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// Rows in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.inner.lock().rows.as_ref().map_or(0, Rows::used)
    }

    /// Messages under way to the decoders.
    #[must_use]
    pub fn ingress_depth(&self) -> usize {
        self.inner.lock().rows.as_ref().map_or(0, Rows::ingress_depth)
    }

    /// Sessions that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.inner.lock().waiting.len()
    }

    fn leave(&self, number: u64) {
        let mut inner = self.inner.lock();
        let before = inner.waiting.len();
        inner.waiting.retain(|waiter| waiter.number != number);
        if inner.waiting.len() != before {
            inner.tell_positions();
        }
    }
}

impl Inner {
    fn lease(&mut self) -> Option<RowLease> {
        self.rows.as_mut().and_then(Rows::lease)
    }

    fn serve(&mut self) {
        let mut served = false;
        while !self.waiting.is_empty() {
            let Some(lease) = self.lease() else { break };
            let Some(waiter) = self.waiting.pop_front() else {
                break;
            };
            // Who left in this moment gives the lease back by dropping it.
            let _ = waiter.lease.send(lease);
            served = true;
        }
        if served {
            self.tell_positions();
        }
    }

    fn tell_positions(&self) {
        for (position, waiter) in (1..).zip(&self.waiting) {
            waiter.position.send_replace(position);
        }
    }
}

impl Ticket {
    /// What happens next to who waits: at first the place in the queue, unless there is a row already. Safe to cancel.
    pub async fn turn(&mut self) -> Turn {
        if !std::mem::replace(&mut self.told, true) {
            return match self.lease.try_recv() {
                Ok(lease) => Turn::Lease(lease),
                Err(oneshot::error::TryRecvError::Empty) => {
                    Turn::Position(*self.position.borrow_and_update())
                }
                Err(oneshot::error::TryRecvError::Closed) => Turn::Over,
            };
        }
        tokio::select! {
            biased;
            lease = &mut self.lease => lease.map_or(Turn::Over, Turn::Lease),
            Ok(()) = self.position.changed() => Turn::Position(*self.position.borrow_and_update()),
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.admission.leave(self.number);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pipeline::links::{Ingress, IngressRx};
    use crate::pipeline::{PipelineOptions, wire_for_test};

    const OPTIONS: PipelineOptions = PipelineOptions {
        frames_ahead: 2,
        coalesce: Duration::ZERO,
        shards: 1,
    };

    fn admission(rows: usize, queue_len: usize) -> (Arc<Admission>, IngressRx) {
        let (rows, mut input) = wire_for_test(rows, OPTIONS);
        (Arc::new(Admission::new(rows, queue_len)), input.remove(0))
    }

    fn pump(admission: &Admission, input: &IngressRx) {
        if let Some(Ingress::Detach { key }) = input.recv() {
            admission.row_free(key);
        }
    }

    async fn lease(ticket: &mut Ticket) -> Option<RowLease> {
        loop {
            match ticket.turn().await {
                Turn::Lease(lease) => return Some(lease),
                Turn::Position(_) => {}
                Turn::Over => return None,
            }
        }
    }

    async fn position(ticket: &mut Ticket) -> Option<u32> {
        match ticket.turn().await {
            Turn::Position(position) => Some(position),
            Turn::Lease(_) | Turn::Over => None,
        }
    }

    #[tokio::test]
    async fn rows_go_to_who_waits_longest_and_positions_move_up() {
        let (admission, input) = admission(1, 2);
        let mut first = admission.request().unwrap();
        let held = lease(&mut first).await.unwrap();
        let (mut second, mut third) = (admission.request().unwrap(), admission.request().unwrap());
        assert_eq!(
            (position(&mut second).await, position(&mut third).await),
            (Some(1), Some(2))
        );
        assert_eq!(admission.request().err(), Some(Refused::Full));
        drop(held);
        pump(&admission, &input);
        let held = lease(&mut second).await.unwrap();
        assert_eq!(position(&mut third).await, Some(1));
        assert_eq!((admission.used(), admission.waiting()), (1, 1));
        drop((held, second));
        pump(&admission, &input);
        assert!(lease(&mut third).await.is_some());
    }

    #[tokio::test]
    async fn who_leaves_the_queue_makes_room() {
        let (admission, _input) = admission(1, 1);
        let mut first = admission.request().unwrap();
        let _held = lease(&mut first).await.unwrap();
        let second = admission.request().unwrap();
        assert!(admission.request().is_err());
        drop(second);
        let mut third = admission.request().unwrap();
        assert_eq!(position(&mut third).await, Some(1));
    }

    #[tokio::test]
    async fn a_lease_nobody_came_for_is_given_back() {
        let (admission, input) = admission(1, 1);
        drop(admission.request().unwrap());
        pump(&admission, &input);
        assert_eq!(admission.used(), 0);
    }

    #[tokio::test]
    async fn draining_lets_nobody_in_and_tells_who_waits() {
        let (admission, _input) = admission(1, 1);
        let mut first = admission.request().unwrap();
        let _held = lease(&mut first).await.unwrap();
        let mut second = admission.request().unwrap();
        admission.drain();
        assert!(lease(&mut second).await.is_none());
        assert_eq!(admission.request().err(), Some(Refused::Stopping));
    }
}
