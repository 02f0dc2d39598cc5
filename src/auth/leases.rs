//! How many minutes a subject used today. Counted in this process alone.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::identity::Principal;
use super::reason::Reason;

const DAY_S: i64 = 86_400;

#[derive(Default)]
struct Use {
    sessions: u32,
    day: i64,
    used: Duration,
}

#[derive(Default)]
struct Book {
    day: i64,
    by_subject: HashMap<Arc<str>, Use>,
}

/// The ledger of all subjects. Subjects without sessions are dropped when the day changes.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Book>>);

/// One session's time; its end (by drop) books it.
pub struct Lease {
    ledger: Ledger,
    subject: Arc<str>,
    began: Instant,
    /// What is left of the day's minutes: the session must end then.
    pub remaining: Option<Duration>,
}

impl Ledger {
    /// Opens a session for `principal` at `now` (Unix seconds).
    pub fn lease(&self, principal: &Principal, now: i64) -> Result<Lease, Reason> {
        let day = now.div_euclid(DAY_S);
        let mut book = self.0.lock();
        if book.day != day {
            book.day = day;
            book.by_subject.retain(|_, used| used.sessions > 0);
        }
        let used = book.by_subject.entry(principal.subject.clone()).or_default();
        if used.day != day {
            used.day = day;
            used.used = Duration::ZERO;
        }
        let allowance = principal
            .limits
            .minutes_per_day
            .map(|m| Duration::from_secs(u64::from(m) * 60));
        let remaining = allowance.map(|all| all.saturating_sub(used.used));
        if remaining == Some(Duration::ZERO) {
            return Err(Reason::QuotaUsed);
        }
        used.sessions += 1;
        Ok(Lease {
            ledger: self.clone(),
            subject: principal.subject.clone(),
            began: Instant::now(),
            remaining,
        })
    }
}

impl Lease {
    fn give_back(&self, lasted: Duration) {
        let mut book = self.ledger.0.lock();
        if let Some(used) = book.by_subject.get_mut(&self.subject) {
            used.sessions = used.sessions.saturating_sub(1);
            used.used += lasted;
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.give_back(self.began.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(minutes_per_day: Option<u32>) -> Principal {
        let mut who = Principal::anonymous();
        who.limits.minutes_per_day = minutes_per_day;
        who
    }

    #[test]
    fn minutes_run_out_and_come_back_the_next_day() {
        let ledger = Ledger::default();
        let who = limited(Some(2));
        let first = ledger.lease(&who, 0).unwrap();
        first.give_back(Duration::from_secs(60));
        assert!(ledger.lease(&who, 0).unwrap().remaining.unwrap() <= Duration::from_secs(60));
        first.give_back(Duration::from_secs(60));
        assert_eq!(ledger.lease(&who, 0).err(), Some(Reason::QuotaUsed));
        assert!(ledger.lease(&who, DAY_S).is_ok());
    }

    #[test]
    fn idle_subjects_are_forgotten_when_the_day_changes() {
        let ledger = Ledger::default();
        drop(ledger.lease(&limited(None), 0).unwrap());
        let mut other = limited(None);
        other.subject = "other".into();
        let _kept = ledger.lease(&other, DAY_S).unwrap();
        assert_eq!(ledger.0.lock().by_subject.len(), 1);
    }
}
