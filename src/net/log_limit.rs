//! Log lines that strangers can cause: one per second of each kind, so that nobody fills a disk with them.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Shortest time between two lines.
const INTERVAL: Duration = Duration::from_secs(1);

/// Limits one kind of line. What happens in between is in the metrics alone.
pub(super) struct LogLimit(Mutex<Option<Instant>>);

impl LogLimit {
    pub(super) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    /// True when a line may be written at `now`.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut last = self.0.lock();
        let allowed = last.is_none_or(|last| now.saturating_duration_since(last) >= INTERVAL);
        if allowed {
            *last = Some(now);
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_second_passes() {
        let (limit, start) = (LogLimit::new(), Instant::now());
        assert!(limit.allows(start));
        assert!(!limit.allows(start + INTERVAL / 2));
        assert!(limit.allows(start + INTERVAL));
    }
}
