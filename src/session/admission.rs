//! Admission: who gets a row, who waits, who is refused. One queue a module, first come first served; a module has one
//! lane of rows for each device that computes it.
//!
//! The one mutex on the way of a session, held for a few instructions and never across an await. Sessions come to it once
//! at their start; the words stage comes once at each end.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::pipeline::rows::{RowLease, Rows};
use crate::stream::ids::RowKey;

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
}

struct Inner {
    /// The rows of each device; none once its pipeline has failed or is being shut down.
    lanes: Box<[Option<Rows>]>,
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
    /// Admission to the rows of each lane, with up to `queue_len` sessions waiting.
    #[must_use]
    pub fn new(lanes: impl IntoIterator<Item = Rows>, queue_len: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                lanes: lanes.into_iter().map(Some).collect(),
                waiting: VecDeque::new(),
                next: 0,
                gate: Gate::Open,
            }),
            queue_len,
        }
    }

    /// Asks for a row; who does not wait (`waits` false) is refused unless one is free.
    pub fn request(self: &Arc<Self>, waits: bool) -> Result<Ticket, Refused> {
        let mut inner = self.inner.lock();
        if inner.gate != Gate::Open {
            return Err(Refused::Stopping);
        }
        let leased = if inner.waiting.is_empty() {
            inner.lease()
        } else {
            None
        };
        if leased.is_none() && (!waits || inner.waiting.len() >= self.queue_len) {
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

    /// The lease `key` of `lane` is over: its row goes to who waits longest.
    pub fn row_free(&self, lane: usize, key: RowKey) {
        let mut inner = self.inner.lock();
        if let Some(rows) = &mut inner.lanes[lane] {
            rows.give_back(key);
        }
        inner.serve();
    }

    /// The pipeline of `lane` has failed: its sessions end, nobody is sent there any more. Who waits goes on waiting for
    /// the other lanes. Says how many lanes are left.
    pub fn lose(&self, lane: usize) -> usize {
        let mut inner = self.inner.lock();
        if let Some(rows) = inner.lanes[lane].take() {
            rows.lose();
        }
        inner.lanes.iter().flatten().count()
    }

    /// Lets nobody in any more. Those who wait are told at once.
    pub fn drain(&self) {
        let mut inner = self.inner.lock();
        inner.gate = Gate::Draining;
        inner.waiting.clear();
    }

    /// Gives up the rows, so that each pipeline ends with the last lease.
    pub fn shut(&self) {
        self.drain();
        self.inner.lock().lanes.iter_mut().for_each(|lane| *lane = None);
    }

    /// Rows there are, on all devices that work.
    #[must_use]
    pub fn total(&self) -> usize {
        self.inner.lock().lanes.iter().flatten().map(Rows::total).sum()
    }

    /// Devices that work.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.inner.lock().lanes.iter().flatten().count()
    }

    /// Rows in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.inner.lock().lanes.iter().flatten().map(Rows::used).sum()
    }

    /// Messages under way to the decoders.
    #[must_use]
    pub fn ingress_depth(&self) -> usize {
        let inner = self.inner.lock();
        inner.lanes.iter().flatten().map(Rows::ingress_depth).sum()
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
    // A row of the lane with the smallest share of its rows in use, the first of equals.
    fn lease(&mut self) -> Option<RowLease> {
        let lanes = self.lanes.iter_mut().flatten();
        let emptiest = lanes.reduce(|best, lane| {
            let (full, fuller) = (lane.used() * best.total(), best.used() * lane.total());
            if full < fuller { lane } else { best }
        });
        // A lane that is full has the largest share there is, so that no other has a row either.
        emptiest.and_then(Rows::lease)
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
mod tests;
