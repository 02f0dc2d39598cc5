//! Counting failed attempts by address. Only failures cost, so a network behind one address is not locked out: whoever
//! shows a credential that nobody can guess is always heard.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use parking_lot::Mutex;

/// Addresses remembered; past that, strangers share one count.
const MAX_ADDRESSES: usize = 65_536;

/// A leaky bucket of failures per address.
pub struct Throttle {
    burst: f64,
    per_second: f64,
    levels: Mutex<Levels>,
}

#[derive(Default)]
struct Levels {
    by_address: HashMap<IpAddr, Level>,
    others: Level,
}

#[derive(Clone, Copy, Default)]
struct Level {
    failures: f64,
    at: i64,
}

impl Level {
    fn now(self, per_second: f64, now: i64) -> f64 {
        (self.failures - now.saturating_sub(self.at).max(0) as f64 * per_second).max(0.0)
    }
}

impl Throttle {
    /// Allows `per_minute` failures in a minute, all at once if they come so. 0 counts nothing.
    pub fn new(per_minute: u32) -> Self {
        Self {
            burst: f64::from(per_minute),
            per_second: f64::from(per_minute) / 60.0,
            levels: Mutex::default(),
        }
    }

    /// Seconds until `address` may fail again, if it failed too often.
    pub fn wait(&self, address: IpAddr, now: i64) -> Option<u32> {
        if self.burst == 0.0 {
            return None;
        }
        let levels = self.levels.lock();
        let level = match levels.by_address.get(&counted_as(address)) {
            Some(level) => *level,
            None if levels.by_address.len() >= MAX_ADDRESSES => levels.others,
            None => return None,
        };
        let over = level.now(self.per_second, now) + 1.0 - self.burst;
        (over > 0.0).then(|| (over / self.per_second).ceil().max(1.0) as u32)
    }

    /// Counts a failure. A bucket never holds more than its burst, so that stopping always helps.
    pub fn failed(&self, address: IpAddr, now: i64) {
        if self.burst == 0.0 {
            return;
        }
        let mut levels = self.levels.lock();
        let Levels { by_address, others } = &mut *levels;
        let address = counted_as(address);
        // Sweeping at most once a second keeps a flood of addresses from costing a sweep each.
        if by_address.len() >= MAX_ADDRESSES && !by_address.contains_key(&address) && others.at != now {
            by_address.retain(|_, level| level.now(self.per_second, now) > 0.0);
        }
        let level = if by_address.len() < MAX_ADDRESSES {
            by_address.entry(address).or_default()
        } else {
            by_address.get_mut(&address).unwrap_or(others)
        };
        *level = Level {
            failures: (level.now(self.per_second, now) + 1.0).min(self.burst),
            at: now,
        };
    }
}

// An IPv6 client owns its whole /64.
fn counted_as(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u32) -> IpAddr {
        IpAddr::V4(n.into())
    }

    #[test]
    fn an_address_waits_after_its_failures_and_recovers() {
        let throttle = Throttle::new(6);
        for _ in 0..6 {
            assert_eq!(throttle.wait(ip(1), 100), None);
            throttle.failed(ip(1), 100);
        }
        assert_eq!(throttle.wait(ip(1), 100), Some(10));
        assert_eq!(throttle.wait(ip(2), 100), None, "others are not touched");
        assert_eq!(throttle.wait(ip(1), 110), None);
    }

    #[test]
    fn a_flood_fills_the_bucket_no_further() {
        let throttle = Throttle::new(60);
        (0..100_000).for_each(|_| throttle.failed(ip(1), 0));
        assert_eq!(throttle.wait(ip(1), 0), Some(1));
        assert_eq!(throttle.wait(ip(1), 1), None);
    }

    #[test]
    fn memory_is_bounded_and_strangers_then_share_a_count() {
        let throttle = Throttle::new(3);
        (0..200_000).for_each(|n| throttle.failed(ip(n), 0));
        assert_eq!(throttle.levels.lock().by_address.len(), MAX_ADDRESSES);
        assert!(throttle.wait(ip(9_999_999), 0).is_some());
        throttle.failed(ip(9_999_999), 1000);
        assert_eq!(
            throttle.levels.lock().by_address.len(),
            1,
            "forgotten once they cost nothing"
        );
    }

    #[test]
    fn an_ipv6_client_is_counted_by_its_network() {
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        assert_eq!(
            counted_as(ip("2001:db8::1:2")),
            counted_as(ip("2001:db8::ffff:1"))
        );
        assert_ne!(
            counted_as(ip("2001:db8:0:1::1")),
            counted_as(ip("2001:db8:0:2::1"))
        );
        assert_eq!(counted_as(ip("::ffff:1.2.3.4")), ip("1.2.3.4"));
    }
}
