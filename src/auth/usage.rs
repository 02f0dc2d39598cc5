//! Connection minutes of each subject in a UTC day, counted in this process alone.
//!
//! Running sessions count while they run: several sessions of one subject use up its minutes that many times as fast, and all of
//! them share one deadline.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::identity::Principal;
use super::reason::Reason;

const DAY_S: i64 = 86_400;

/// A point in time by both clocks: the steady one measures, the one on the wall tells the day.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    /// Unix seconds.
    unix_s: i64,
}

impl Moment {
    fn now(unix_s: i64) -> Self {
        Self {
            at: Instant::now(),
            unix_s,
        }
    }

    /// The moment `at`, by the steady clock's distance from this one.
    fn later(self, at: Instant) -> Self {
        let passed = at.saturating_duration_since(self.at).as_secs();
        Self {
            at,
            unix_s: self.unix_s.saturating_add_unsigned(passed),
        }
    }

    fn day(self) -> i64 {
        self.unix_s.div_euclid(DAY_S)
    }

    fn since_midnight(self) -> Duration {
        Duration::from_secs(self.unix_s.rem_euclid(DAY_S).unsigned_abs())
    }
}

/// What one subject has used.
struct Account {
    sessions: u32,
    /// Minutes of a day, as the newest credential states them; `None` is no limit.
    allowance: Option<Duration>,
    /// Time used on the day of `counted`, by all sessions together, until then.
    used: Duration,
    counted: Moment,
    /// When the running sessions will have used up the allowance.
    deadline: watch::Sender<Option<Instant>>,
}

impl Account {
    fn new(now: Moment) -> Self {
        Self {
            sessions: 0,
            allowance: None,
            used: Duration::ZERO,
            counted: now,
            deadline: watch::Sender::new(None),
        }
    }

    /// Books the time that the running sessions have used until `now`. A new day begins with nothing used.
    fn book(&mut self, now: Moment) {
        let passed = now.at.saturating_duration_since(self.counted.at);
        if now.day() == self.counted.day() {
            self.used += passed * self.sessions;
        } else {
            self.used = passed.min(now.since_midnight()) * self.sessions;
        }
        self.counted = now;
    }

    fn is_used_up(&self) -> bool {
        self.allowance.is_some_and(|allowance| self.used >= allowance)
    }

    /// Tells the running sessions by when they will have used up what is left.
    fn tell(&self) {
        let left = self
            .allowance
            .map(|allowance| allowance.saturating_sub(self.used));
        let deadline = left.and_then(|left| self.counted.at.checked_add(left / self.sessions.max(1)));
        self.deadline
            .send_if_modified(|told| std::mem::replace(told, deadline) != deadline);
    }
}

/// The accounts of all subjects. Those without sessions are dropped when the day changes.
#[derive(Clone, Default)]
pub(super) struct Ledger(Arc<Mutex<Accounts>>);

#[derive(Default)]
struct Accounts {
    day: i64,
    by_subject: HashMap<Arc<str>, Account>,
}

/// One session's use of its subject's minutes; ends by drop.
pub struct UsageLease(Allowance);

/// What is left of a subject's minutes, for one of its running sessions.
#[derive(Clone)]
pub struct Allowance {
    ledger: Ledger,
    subject: Arc<str>,
    opened: Moment,
    deadline: watch::Receiver<Option<Instant>>,
}

impl Ledger {
    /// Opens a session of `principal` at `now` (Unix seconds).
    ///
    /// # Errors
    /// The minutes of the day are used up.
    pub(super) fn lease(&self, principal: &Principal, now: i64) -> Result<UsageLease, Reason> {
        self.open(principal, Moment::now(now))
    }

    fn open(&self, principal: &Principal, now: Moment) -> Result<UsageLease, Reason> {
        let mut accounts = self.0.lock();
        if accounts.day != now.day() {
            accounts.day = now.day();
            accounts.by_subject.retain(|_, account| account.sessions > 0);
        }
        let account = accounts
            .by_subject
            .entry(principal.subject.clone())
            .or_insert_with(|| Account::new(now));
        account.book(now);
        let minutes = principal.limits.minutes_per_day;
        account.allowance = minutes.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
        if account.is_used_up() {
            return Err(Reason::QuotaUsed);
        }
        account.sessions += 1;
        account.tell();
        Ok(UsageLease(Allowance {
            ledger: self.clone(),
            subject: principal.subject.clone(),
            opened: now,
            deadline: account.deadline.subscribe(),
        }))
    }

    fn with(&self, subject: &str, now: Moment, change: impl FnOnce(&mut Account)) {
        if let Some(account) = self.0.lock().by_subject.get_mut(subject) {
            account.book(now);
            change(account);
            account.tell();
        }
    }
}

impl Allowance {
    /// Returns when the subject's minutes of the day are used up; never if it has no limit. May be dropped and called again.
    pub async fn used_up(&mut self) {
        loop {
            let deadline = *self.deadline.borrow_and_update();
            let over = async {
                match deadline {
                    Some(deadline) => sleep_until(deadline.into()).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = over => if self.is_used_up(Instant::now()) {
                    return;
                },
                // The account stays as long as a session has a lease on it.
                Ok(()) = self.deadline.changed() => {}
            }
        }
    }

    /// Whether nothing is left: a deadline that a new day has moved is no deadline.
    fn is_used_up(&self, at: Instant) -> bool {
        let mut used_up = false;
        let now = self.opened.later(at);
        self.ledger
            .with(&self.subject, now, |account| used_up = account.is_used_up());
        used_up
    }

    fn close(&self, at: Instant) {
        let now = self.opened.later(at);
        self.ledger.with(&self.subject, now, |account| {
            account.sessions = account.sessions.saturating_sub(1);
        });
    }
}

impl UsageLease {
    /// What the session may still use, to be watched while it runs.
    #[must_use]
    pub fn allowance(&self) -> Allowance {
        self.0.clone()
    }
}

impl Drop for UsageLease {
    fn drop(&mut self) {
        self.0.close(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    fn limited(minutes_per_day: Option<u32>) -> Principal {
        let mut who = Principal::anonymous();
        who.limits.minutes_per_day = minutes_per_day;
        who
    }

    fn seconds(n: u64) -> Duration {
        Duration::from_secs(n)
    }

    /// The moment `n` seconds into a run of the test that began at `start`.
    fn after(start: Moment, n: u64) -> Moment {
        start.later(start.at + seconds(n))
    }

    fn end(lease: UsageLease, at: Moment) {
        lease.0.close(at.at);
        std::mem::forget(lease);
    }

    fn deadline(lease: &UsageLease) -> Instant {
        lease.0.deadline.borrow().unwrap()
    }

    #[test]
    fn minutes_run_out_and_come_back_the_next_day() {
        let (ledger, who, start) = (Ledger::default(), limited(Some(2)), Moment::now(0));
        end(ledger.open(&who, start).unwrap(), after(start, 60));
        let second = ledger.open(&who, after(start, 100)).unwrap();
        assert_eq!(
            deadline(&second),
            start.at + seconds(160),
            "one of two minutes is left"
        );
        end(second, after(start, 160));
        assert_eq!(
            ledger.open(&who, after(start, 200)).err(),
            Some(Reason::QuotaUsed)
        );
        assert!(ledger.open(&who, after(start, DAY_S as u64)).is_ok());
    }

    #[test]
    fn sessions_at_the_same_time_share_the_minutes() {
        let (ledger, who, start) = (Ledger::default(), limited(Some(1)), Moment::now(0));
        let mut leases: Vec<UsageLease> = (0..6).map(|_| ledger.open(&who, start).unwrap()).collect();
        for lease in &leases {
            assert_eq!(deadline(lease), start.at + seconds(10), "60 s for six");
        }
        end(leases.pop().unwrap(), after(start, 4));
        // 36 s are left for five.
        assert_eq!(deadline(&leases[0]), start.at + seconds(4) + seconds(36) / 5);
        assert!(!leases[0].0.is_used_up(start.at + seconds(11)));
        assert!(leases[0].0.is_used_up(start.at + seconds(12)));
        assert_eq!(
            ledger.open(&who, after(start, 12)).err(),
            Some(Reason::QuotaUsed),
            "though no session has ended"
        );
    }

    #[test]
    fn a_session_that_runs_into_a_new_day_has_that_days_minutes() {
        let (ledger, who) = (Ledger::default(), limited(Some(1)));
        let start = Moment::now(DAY_S - 10);
        let lease = ledger.open(&who, start).unwrap();
        assert_eq!(deadline(&lease), start.at + seconds(60));
        assert!(
            !lease.0.is_used_up(start.at + seconds(60)),
            "50 s of the new day are used"
        );
        assert_eq!(deadline(&lease), start.at + seconds(70));
        assert!(lease.0.is_used_up(start.at + seconds(70)));
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

    #[tokio::test]
    async fn all_sessions_hear_that_the_minutes_are_used_up() {
        let (ledger, who) = (Ledger::default(), limited(Some(1)));
        let first = ledger.lease(&who, 0).unwrap();
        let mut waiting = first.allowance();
        let heard = tokio::spawn(async move { waiting.used_up().await });
        tokio::task::yield_now().await;
        let second = ledger.lease(&who, 0).unwrap();
        ledger.with(&who.subject, Moment::now(0), |account| account.used = seconds(60));
        second.allowance().used_up().await;
        heard.await.unwrap();
    }

    #[tokio::test]
    async fn a_subject_without_a_limit_never_hears_of_one() {
        let lease = Ledger::default().lease(&limited(None), 0).unwrap();
        assert!(lease.allowance().used_up().now_or_never().is_none());
    }
}
