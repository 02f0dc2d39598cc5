//! Admission: who gets a row, who waits, who is refused. One queue a module, first come first served; a module has one
//! lane of rows for each device that computes it.
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
        (Arc::new(Admission::new([rows], queue_len)), input.remove(0))
    }

    /// Admission to lanes of 2 and of 4 rows.
    fn two_lanes(queue_len: usize) -> (Arc<Admission>, [Vec<IngressRx>; 2]) {
        let ((small, a), (large, b)) = (wire_for_test(2, OPTIONS), wire_for_test(4, OPTIONS));
        (Arc::new(Admission::new([small, large], queue_len)), [a, b])
    }

    fn pump(admission: &Admission, input: &IngressRx) {
        if let Some(Ingress::Detach { key }) = input.recv() {
            admission.row_free(0, key);
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

    /// Rows in use on each lane.
    fn loads(admission: &Admission) -> Vec<usize> {
        let inner = admission.inner.lock();
        inner
            .lanes
            .iter()
            .map(|lane| lane.as_ref().map_or(0, Rows::used))
            .collect()
    }

    #[tokio::test]
    async fn sessions_go_to_the_lane_with_the_smallest_share_in_use() {
        let (admission, _inputs) = two_lanes(0);
        let mut held = Vec::new();
        let mut seen = Vec::new();
        while let Ok(mut ticket) = admission.request() {
            held.push(lease(&mut ticket).await.unwrap());
            seen.push(loads(&admission));
        }
        let expected = [[1, 0], [1, 1], [1, 2], [2, 2], [2, 3], [2, 4]];
        assert_eq!(seen, expected);
        assert_eq!((admission.used(), admission.total()), (6, 6));
    }

    #[tokio::test]
    async fn a_row_of_any_lane_goes_to_who_waits() {
        let (admission, _inputs) = two_lanes(1);
        let mut held = Vec::new();
        for _ in 0..6 {
            held.push(lease(&mut admission.request().unwrap()).await.unwrap());
        }
        let mut waiting = admission.request().unwrap();
        assert_eq!(position(&mut waiting).await, Some(1));
        // The third lease was on the second lane.
        let key = held.remove(2).key();
        admission.row_free(1, key);
        assert_eq!(lease(&mut waiting).await.unwrap().key().row, key.row);
    }

    #[tokio::test]
    async fn a_lost_lane_ends_its_leases_alone_and_gets_no_more() {
        let (admission, _inputs) = two_lanes(0);
        let on_small = lease(&mut admission.request().unwrap()).await.unwrap();
        let on_large = lease(&mut admission.request().unwrap()).await.unwrap();
        assert_eq!(admission.lose(0), 1);
        on_small.lost().await;
        let still = tokio::time::timeout(Duration::ZERO, on_large.lost()).await;
        assert!(still.is_err());
        // Late word of a lease that is lost.
        admission.row_free(0, on_small.key());
        assert_eq!((admission.used(), admission.total()), (1, 4));
        let mut held = Vec::new();
        while let Ok(mut ticket) = admission.request() {
            held.push(lease(&mut ticket).await.unwrap());
        }
        assert_eq!((held.len(), loads(&admission)), (3, vec![0, 4]));
        assert_eq!(admission.lose(1), 0);
    }
}
