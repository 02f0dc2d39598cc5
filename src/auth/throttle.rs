//! Counts failed attempts by address. Only failures count, and only credentials that can be guessed have to wait, so a network
//! behind one address is not locked out.

use std::collections::HashMap;
use std::net::IpAddr;

use parking_lot::Mutex;

use super::network::Network;

/// Most networks that are counted; past that, new ones share one bucket.
const MAX_NETWORKS: usize = 65_536;

/// How many times as often as one client an IPv6 /48 may fail. A site is usually given one, with 65,536 /64 networks in it.
const SITE_SHARE: f64 = 8.0;

/// Leaky buckets of failures: one per IPv4 address or IPv6 /64, and a larger one per IPv6 /48.
pub(super) struct Throttle {
    burst: f64,
    per_second: f64,
    levels: Mutex<Levels>,
}

#[derive(Default)]
struct Levels {
    by_network: HashMap<Network, Level>,
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
    /// Makes a throttle of `per_minute` failures per minute, which may come all at once. 0 is no limit.
    pub(super) fn new(per_minute: u32) -> Self {
        Self {
            burst: f64::from(per_minute),
            per_second: f64::from(per_minute) / 60.0,
            levels: Mutex::default(),
        }
    }

    /// Returns the seconds until `address` may fail again, if it, or its site, failed too often.
    pub(super) fn wait(&self, address: IpAddr, now: i64) -> Option<u32> {
        if self.burst == 0.0 {
            return None;
        }
        let levels = self.levels.lock();
        let client = self.wait_of(&levels, Network::client(address), 1.0, now);
        let site = Network::site(address).and_then(|site| self.wait_of(&levels, site, SITE_SHARE, now));
        client.max(site)
    }

    fn wait_of(&self, levels: &Levels, network: Network, share: f64, now: i64) -> Option<u32> {
        let level = match levels.by_network.get(&network) {
            Some(level) => *level,
            None if levels.by_network.len() >= MAX_NETWORKS => levels.others,
            None => return None,
        };
        let over = level.now(self.per_second * share, now) + 1.0 - self.burst * share;
        (over > 0.0).then(|| (over / (self.per_second * share)).ceil().max(1.0) as u32)
    }

    /// Counts a failure. A bucket never holds more than its burst, so waiting always helps.
    pub(super) fn failed(&self, address: IpAddr, now: i64) {
        if self.burst == 0.0 {
            return;
        }
        let mut levels = self.levels.lock();
        if let Some(site) = Network::site(address) {
            let full = self.wait_of(&levels, site, SITE_SHARE, now).is_some();
            self.count(&mut levels, site, SITE_SHARE, now);
            // The whole site waits already, so its networks need no buckets of their own.
            if full {
                return;
            }
        }
        self.count(&mut levels, Network::client(address), 1.0, now);
    }

    fn count(&self, levels: &mut Levels, network: Network, share: f64, now: i64) {
        let Levels { by_network, others } = levels;
        // At most once per second, or each address of a flood would cost a sweep. By the slowest rate, so that no bucket is dropped
        // too early.
        if by_network.len() >= MAX_NETWORKS && !by_network.contains_key(&network) && others.at != now {
            by_network.retain(|_, level| level.now(self.per_second, now) > 0.0);
        }
        let level = if by_network.len() < MAX_NETWORKS {
            by_network.entry(network).or_default()
        } else {
            by_network.get_mut(&network).unwrap_or(others)
        };
        *level = Level {
            failures: (level.now(self.per_second * share, now) + 1.0).min(self.burst * share),
            at: now,
        };
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

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
        assert_eq!(throttle.levels.lock().by_network.len(), MAX_NETWORKS);
        assert!(throttle.wait(ip(9_999_999), 0).is_some());
        throttle.failed(ip(9_999_999), 1000);
        assert_eq!(
            throttle.levels.lock().by_network.len(),
            1,
            "forgotten once they cost nothing"
        );
    }

    #[test]
    fn the_networks_of_one_ipv6_site_have_a_common_limit_and_fill_no_memory() {
        let throttle = Throttle::new(3);
        let host = |network: u32| {
            IpAddr::from(Ipv6Addr::from_bits(
                0x2001_0db8_0001 << 80 | u128::from(network) << 64 | 1,
            ))
        };
        for network in 0..24 {
            assert_eq!(throttle.wait(host(network), 0), None, "{network}");
            throttle.failed(host(network), 0);
        }
        assert!(
            throttle.wait(host(99), 0).is_some(),
            "a network that never failed"
        );
        let neighbour: IpAddr = "2001:db8:2::1".parse().unwrap();
        assert_eq!(throttle.wait(neighbour, 0), None, "another site");
        (100..60_000).for_each(|network| throttle.failed(host(network), 0));
        assert!(throttle.levels.lock().by_network.len() <= 25);
        assert_eq!(throttle.wait(host(99), 60), None, "it recovers");
    }
}
