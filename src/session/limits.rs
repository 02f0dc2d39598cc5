//! Deadlines of a session. The time is passed in.

use std::future::pending;
use std::time::{Duration, Instant};

use tokio::time::sleep_until;

use crate::stream::end::EndReason;

/// Deadlines of a session. Each variant says what must happen before it; the session ends if it does not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Due {
    /// Audio must arrive.
    Idle,
    /// The peer must give any sign of life.
    Peer,
    /// A message that waits must find room.
    Stall,
    /// The session must end: it has its longest duration.
    Age,
    /// The credentials must be renewed.
    Expiry,
    /// The session must be over: the server stops.
    Drain,
}

const DUES: [Due; 6] = [
    Due::Idle,
    Due::Peer,
    Due::Stall,
    Due::Age,
    Due::Expiry,
    Due::Drain,
];

impl Due {
    /// Returns why a session ends that misses the deadline.
    #[must_use]
    pub fn reason(self) -> EndReason {
        match self {
            Self::Idle => EndReason::Idle,
            Self::Peer => EndReason::PeerGone,
            Self::Stall => EndReason::Stalled,
            Self::Age => EndReason::TooLong,
            Self::Expiry => EndReason::Unauthorized,
            Self::Drain => EndReason::Restart,
        }
    }
}

/// The deadlines that are set.
#[derive(Clone, Debug, Default)]
pub struct Deadlines([Option<Instant>; DUES.len()]);

impl Deadlines {
    /// Sets the deadline of `due` to `after` `now`. A duration beyond what can be represented is no deadline.
    pub fn set(&mut self, due: Due, now: Instant, after: Duration) {
        self.0[due as usize] = now.checked_add(after);
    }

    pub fn clear(&mut self, due: Due) {
        self.0[due as usize] = None;
    }

    /// Returns the first deadline.
    #[must_use]
    pub fn next(&self) -> Option<(Due, Instant)> {
        let set = DUES.iter().filter_map(|due| Some((*due, self.0[*due as usize]?)));
        set.min_by_key(|(_, at)| *at)
    }
}

/// Waits for the deadline `due`, forever where there is none. Safe to cancel.
pub(super) async fn reached(due: Option<(Due, Instant)>) -> Due {
    match due {
        Some((due, at)) => {
            sleep_until(at.into()).await;
            due
        }
        None => pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_deadline_counts_and_can_be_moved() {
        let now = Instant::now();
        let mut deadlines = Deadlines::default();
        assert_eq!(deadlines.next(), None);
        deadlines.set(Due::Idle, now, Duration::from_secs(5));
        deadlines.set(Due::Age, now, Duration::from_secs(9));
        assert_eq!(deadlines.next(), Some((Due::Idle, now + Duration::from_secs(5))));
        deadlines.set(Due::Idle, now, Duration::from_secs(20));
        assert_eq!(deadlines.next().unwrap().0, Due::Age);
        deadlines.clear(Due::Age);
        deadlines.set(Due::Expiry, now, Duration::MAX);
        assert_eq!(deadlines.next().unwrap().0, Due::Idle);
    }
}
