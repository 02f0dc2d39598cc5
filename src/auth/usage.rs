//! What each principal is using: sessions now, seconds today.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::principal::Principal;
use super::reason::Reason;

const DAY: i64 = 86_400;
/// Subjects with a record at a time; beyond it those without sessions are forgotten.
const CAPACITY: usize = 100_000;

#[derive(Default)]
struct Use {
    sessions: u32,
    day: i64,
    seconds_today: u64,
}

/// Use by subject.
#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<HashMap<Arc<str>, Use>>>);

/// One session counted against its principal; gives the place back when dropped.
pub struct SessionLease {
    ledger: Ledger,
    subject: Arc<str>,
    since: i64,
    ended: Option<i64>,
}

impl Ledger {
    /// Counts a session from `now` on, or says which limit stands against it.
    pub fn lease(&self, principal: &Principal, now: i64) -> Result<SessionLease, Reason> {
        let mut uses = self.0.lock();
        if uses.len() >= CAPACITY {
            uses.retain(|_, u| u.sessions > 0);
        }
        let u = uses.entry(Arc::clone(&principal.subject)).or_default();
        u.turn_to(now / DAY);
        if principal.quota.max_sessions.is_some_and(|max| u.sessions >= max) {
            return Err(Reason::TooManySessions);
        }
        if principal.quota.minutes_per_day.is_some_and(|max| u.seconds_today >= u64::from(max) * 60) {
            return Err(Reason::QuotaUsed);
        }
        u.sessions += 1;
        Ok(SessionLease { ledger: self.clone(), subject: Arc::clone(&principal.subject), since: now, ended: None })
    }

    /// Seconds `principal` may still use today, for ending a session that reaches its quota.
    pub fn seconds_left(&self, principal: &Principal, now: i64) -> Option<u64> {
        let minutes = principal.quota.minutes_per_day?;
        let used = self.0.lock().get(&principal.subject).filter(|u| u.day == now / DAY).map_or(0, |u| u.seconds_today);
        Some((u64::from(minutes) * 60).saturating_sub(used))
    }
}

impl Use {
    fn turn_to(&mut self, day: i64) {
        if self.day != day {
            (self.day, self.seconds_today) = (day, 0);
        }
    }
}

impl SessionLease {
    /// Ends the session at `now`, so that its time is counted.
    pub fn end(mut self, now: i64) {
        self.ended = Some(now);
    }
}

impl Drop for SessionLease {
    fn drop(&mut self) {
        let mut uses = self.ledger.0.lock();
        if let Some(u) = uses.get_mut(&self.subject) {
            u.sessions = u.sessions.saturating_sub(1);
            if let Some(ended) = self.ended {
                u.turn_to(ended / DAY);
                let today = ended - self.since.max(ended / DAY * DAY);
                u.seconds_today += u64::try_from(today).unwrap_or(0);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::auth::principal::Quota;

    fn with(quota: Quota) -> Principal {
        Principal { quota, ..Principal::anonymous() }
    }

    #[test]
    fn concurrent_sessions_are_limited_and_a_place_comes_back() {
        let (ledger, p) = (Ledger::default(), with(Quota { max_sessions: Some(2), minutes_per_day: None }));
        let first = ledger.lease(&p, 0).unwrap();
        let _second = ledger.lease(&p, 0).unwrap();
        assert_eq!(ledger.lease(&p, 0).err(), Some(Reason::TooManySessions));
        drop(first);
        assert!(ledger.lease(&p, 0).is_ok());
    }

    #[test]
    fn minutes_are_counted_by_day() {
        let (ledger, p) = (Ledger::default(), with(Quota { max_sessions: None, minutes_per_day: Some(2) }));
        ledger.lease(&p, 10).unwrap().end(100);
        assert_eq!(ledger.seconds_left(&p, 100), Some(30));
        ledger.lease(&p, 100).unwrap().end(130);
        assert_eq!(ledger.lease(&p, 131).err(), Some(Reason::QuotaUsed));
        assert!(ledger.lease(&p, DAY).is_ok());
        ledger.lease(&p, DAY - 50).unwrap().end(DAY + 20);
        assert_eq!(ledger.seconds_left(&p, DAY + 20), Some(100));
    }
}
