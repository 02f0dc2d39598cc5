//! Admission: who gets a row, who waits, who is refused. One queue per module, first come first served, for the rows of all
//! devices that compute the module.
//!
//! This is the one mutex on the way of a session, held for a few instructions and never across an await. A session locks it
//! once at its start, the output stage once at its end.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

use crate::pipeline::rows::{RowLease, Rows};
use crate::stream::ids::RowKey;

/// Whether new sessions are admitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gate {
    Open,
    /// No new sessions; those with a row keep it.
    Draining,
}

/// Why a session is not admitted.
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
    devices: Box<[Option<Rows>]>,
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
pub struct QueuePlace {
    admission: Arc<Admission>,
    number: u64,
    lease: oneshot::Receiver<RowLease>,
    position: watch::Receiver<u32>,
    told: bool,
}

/// What a waiter hears next: a lease, its position, or that admission closed.
pub enum Turn {
    Lease(RowLease),
    /// The place in the queue; 1 is next.
    Position(u32),
    /// Admission closed.
    Over,
}

impl Admission {
    /// Admission to the rows of each device, with up to `queue_len` waiting sessions.
    #[must_use]
    pub fn new(devices: impl IntoIterator<Item = Rows>, queue_len: usize) -> Self {
        Self {
            inner: Mutex::new(Inner {
                devices: devices.into_iter().map(Some).collect(),
                waiting: VecDeque::new(),
                next: 0,
                gate: Gate::Open,
            }),
            queue_len,
        }
    }

    /// Asks for a row. With `waits` false the session is refused unless a row is free.
    ///
    /// # Errors
    /// All rows and the queue are taken, or the server is stopping.
    pub fn request(self: &Arc<Self>, waits: bool) -> Result<QueuePlace, Refused> {
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
            // The receiver is still in this function.
            Some(leased) => drop(lease_tx.send(leased)),
            None => inner.waiting.push_back(Waiter {
                number,
                lease: lease_tx,
                position: position_tx,
            }),
        }
        Ok(QueuePlace {
            admission: Arc::clone(self),
            number,
            lease,
            position,
            told: false,
        })
    }

    /// Takes back the row of the lease `key` on `device` and gives it to the first waiter.
    pub fn row_free(&self, device: usize, key: RowKey) {
        let mut inner = self.inner.lock();
        if let Some(rows) = &mut inner.devices[device] {
            rows.give_back(key);
        }
        inner.serve();
    }

    /// Gives up the rows of `device` because its pipeline has failed: its sessions end. Waiters go on waiting for the other
    /// devices. Returns how many devices are left.
    pub fn lose(&self, device: usize) -> usize {
        let mut inner = self.inner.lock();
        if let Some(rows) = inner.devices[device].take() {
            rows.lose();
        }
        inner.devices.iter().flatten().count()
    }

    /// Closes admission. Waiters are told at once.
    pub fn drain(&self) {
        let mut inner = self.inner.lock();
        inner.gate = Gate::Draining;
        inner.waiting.clear();
    }

    /// Gives up all rows, so that each pipeline ends with its last lease.
    pub fn shut(&self) {
        self.drain();
        self.inner
            .lock()
            .devices
            .iter_mut()
            .for_each(|device| *device = None);
    }

    /// Returns the number of rows on all working devices.
    #[must_use]
    pub fn total(&self) -> usize {
        self.inner.lock().devices.iter().flatten().map(Rows::total).sum()
    }

    /// Returns the number of working devices.
    #[must_use]
    pub fn devices(&self) -> usize {
        self.inner.lock().devices.iter().flatten().count()
    }

    /// Returns the number of rows in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.inner.lock().devices.iter().flatten().map(Rows::used).sum()
    }

    /// Returns the number of messages on their way to the input stage.
    #[must_use]
    pub fn ingress_depth(&self) -> usize {
        let inner = self.inner.lock();
        inner.devices.iter().flatten().map(Rows::ingress_depth).sum()
    }

    /// Returns the number of waiting sessions.
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
    // Leases a row of the device with the smallest share of its rows in use, the first of equals.
    fn lease(&mut self) -> Option<RowLease> {
        let devices = self.devices.iter_mut().flatten();
        let emptiest = devices.reduce(|best, lane| {
            let (full, fuller) = (lane.used() * best.total(), best.used() * lane.total());
            if full < fuller { lane } else { best }
        });
        // A full device has the largest share there is, so if it is the best one, no other has a row either.
        emptiest.and_then(Rows::lease)
    }

    fn serve(&mut self) {
        let mut served = false;
        while !self.waiting.is_empty() {
            let Some(lease) = self.lease() else { break };
            let Some(waiter) = self.waiting.pop_front() else {
                break;
            };
            // A waiter that left in this moment gives the lease back by dropping it.
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

impl QueuePlace {
    /// Waits for the next news: at first the position in the queue, unless there is a row already. Safe to cancel.
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

impl Drop for QueuePlace {
    fn drop(&mut self) {
        self.admission.leave(self.number);
    }
}

#[cfg(test)]
mod tests;
