//! Counts connections: how many are open, how many of one address, and which have not sent a request head yet. One
//! address can shut the port for nobody but itself.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::auth::Network;
use crate::config::Limits;
use crate::telemetry::Meters;
use crate::telemetry::labels::{LinkName, Refused, SharedLink, Unserved};

/// Why a new connection is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    /// There are `max_connections`, or `max_handshakes` of trusted proxies alone.
    Server,
    /// Its address has `max_connections_per_address`.
    Address,
}

/// The connections of one listener.
pub(super) struct Connections {
    max: usize,
    max_per_address: usize,
    max_handshakes: usize,
    meters: Meters,
    table: Mutex<Table>,
}

#[derive(Default)]
struct Table {
    open: usize,
    /// Open connections of each client. Trusted proxies are not in it.
    by_address: HashMap<Network, usize>,
    /// Connections without a request head, in the order of their arrival.
    handshakes: BTreeMap<u64, Waiting>,
    next: u64,
}

/// A connection whose first request head has not come.
struct Waiting {
    /// None for a trusted proxy.
    address: Option<Network>,
    /// Tells it to give way to a newer one.
    give_way: Arc<Notify>,
}

impl Connections {
    pub(super) fn new(limits: &Limits, meters: Meters) -> Arc<Self> {
        Arc::new(Self {
            max: limits.max_connections,
            max_per_address: limits.connections_per_address(),
            max_handshakes: limits.max_handshakes,
            meters,
            table: Mutex::default(),
        })
    }

    /// Counts a new connection from `peer`, which is not limited by its address when it is a `trusted` proxy: all its
    /// clients come from there. When too many connections wait for their request head, the oldest of the address that
    /// has most of them is cut off in its favour.
    ///
    /// # Errors
    /// There are too many connections, in all or of this address.
    pub(super) fn admit(
        self: &Arc<Self>,
        peer: IpAddr,
        trusted: bool,
    ) -> Result<(Arc<Permit>, Handshake), Full> {
        let address = (!trusted).then(|| Network::client(peer));
        let admitted = self.table.lock().admit(address, self);
        match admitted {
            Ok((id, give_way, cut)) => {
                if cut {
                    self.meters
                        .connections
                        .unserved
                        .of(Unserved::Handshakes)
                        .increment(1);
                }
                self.meters.links.depth.of(SharedLink::Connections).increment(1);
                let permit = Permit {
                    connections: Arc::clone(self),
                    address,
                };
                let handshake = Handshake {
                    connections: Arc::clone(self),
                    id,
                    give_way,
                };
                Ok((Arc::new(permit), handshake))
            }
            Err(full) => {
                let reason = match full {
                    Full::Server => {
                        self.meters.links.full.of(LinkName::Connections).increment(1);
                        self.meters
                            .admission
                            .refused
                            .of(Refused::Connections)
                            .increment(1);
                        Unserved::Full
                    }
                    Full::Address => Unserved::Address,
                };
                self.meters.connections.unserved.of(reason).increment(1);
                Err(full)
            }
        }
    }
}

impl Table {
    /// Counts a connection: its id among the handshakes, its way to hear that it must give way, and whether another had to.
    fn admit(
        &mut self,
        address: Option<Network>,
        limits: &Connections,
    ) -> Result<(u64, Arc<Notify>, bool), Full> {
        if self.open >= limits.max {
            return Err(Full::Server);
        }
        let of_address = address.and_then(|address| self.by_address.get(&address));
        if of_address.is_some_and(|open| *open >= limits.max_per_address) {
            return Err(Full::Address);
        }
        let full = self.handshakes.len() >= limits.max_handshakes;
        if full && !self.cut_one() {
            return Err(Full::Server);
        }
        self.open += 1;
        if let Some(address) = address {
            *self.by_address.entry(address).or_default() += 1;
        }
        let (id, give_way) = (self.next, Arc::<Notify>::default());
        self.next += 1;
        let waiting = Waiting {
            address,
            give_way: Arc::clone(&give_way),
        };
        self.handshakes.insert(id, waiting);
        Ok((id, give_way, full))
    }

    /// Cuts off the oldest handshake of the address that has most. False when all are of trusted proxies.
    fn cut_one(&mut self) -> bool {
        let mut by_address: HashMap<Network, (usize, Reverse<u64>)> = HashMap::new();
        for (id, waiting) in &self.handshakes {
            if let Some(address) = waiting.address {
                // The first one seen is the oldest.
                by_address.entry(address).or_insert((0, Reverse(*id))).0 += 1;
            }
        }
        let victim = by_address.into_values().max().map(|(_, Reverse(id))| id);
        let Some(waiting) = victim.and_then(|id| self.handshakes.remove(&id)) else {
            return false;
        };
        waiting.give_way.notify_one();
        true
    }
}

/// An open connection. Kept, by whoever serves it, until its socket is closed: an upgraded socket outlives its request.
pub(super) struct Permit {
    connections: Arc<Connections>,
    address: Option<Network>,
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.connections
            .meters
            .links
            .depth
            .of(SharedLink::Connections)
            .decrement(1);
        let mut table = self.connections.table.lock();
        table.open -= 1;
        if let Some(address) = self.address
            && let Some(open) = table.by_address.get_mut(&address)
        {
            *open -= 1;
            if *open == 0 {
                table.by_address.remove(&address);
            }
        }
    }
}

/// A connection that has not sent its first request head; to be dropped when it has.
pub(super) struct Handshake {
    connections: Arc<Connections>,
    id: u64,
    give_way: Arc<Notify>,
}

impl Handshake {
    /// Fires when the connection must give way to another, if its head has still not come.
    pub(super) fn give_way(&self) -> Arc<Notify> {
        Arc::clone(&self.give_way)
    }
}

impl Drop for Handshake {
    fn drop(&mut self) {
        self.connections.table.lock().handshakes.remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(max: usize, per_address: usize, handshakes: usize) -> Arc<Connections> {
        let limits = Limits {
            max_connections: max,
            max_connections_per_address: Some(per_address),
            max_handshakes: handshakes,
            ..Limits::default()
        };
        Connections::new(&limits, Meters::default())
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Whether the connection was told to give way.
    fn told(handshake: &Handshake) -> bool {
        let told = handshake.give_way();
        let mut told = std::pin::pin!(told.notified());
        told.as_mut().enable()
    }

    #[test]
    fn the_oldest_handshake_of_the_address_with_most_gives_way() {
        let all = connections(100, 100, 4);
        let (crowd, other) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let (_p0, patient) = all.admit(other, false).unwrap();
        let crowd: Vec<_> = (0..3).map(|_| all.admit(crowd, false).unwrap()).collect();
        let (_p1, newcomer) = all.admit(ip("10.0.0.3"), false).unwrap();
        let told: Vec<bool> = crowd.iter().map(|(_, handshake)| told(handshake)).collect();
        assert_eq!(told, [true, false, false]);
        assert!(!self::told(&patient) && !self::told(&newcomer));
        assert_eq!(all.table.lock().handshakes.len(), 4);
    }

    #[test]
    fn a_connection_whose_head_has_come_gives_way_to_nobody() {
        let all = connections(100, 100, 1);
        let (_p, head) = all.admit(ip("10.0.0.1"), false).unwrap();
        let heard = head.give_way();
        drop(head);
        let (_p, _head) = all.admit(ip("10.0.0.2"), false).unwrap();
        let mut told = std::pin::pin!(heard.notified());
        assert!(!told.as_mut().enable());
    }

    #[test]
    fn an_address_has_its_share_and_gets_it_back() {
        let all = connections(3, 2, 10);
        let v6 = |n: u16| ip(&format!("2001:db8:0:1::{n}"));
        let first = all.admit(v6(1), false).unwrap();
        let _second = all.admit(v6(2), false).unwrap();
        assert_eq!(
            all.admit(v6(3), false).err(),
            Some(Full::Address),
            "one client, one /64"
        );
        let _other = all.admit(ip("2001:db8:0:2::1"), false).unwrap();
        assert_eq!(all.admit(ip("10.0.0.1"), false).err(), Some(Full::Server));
        drop(first);
        assert!(all.admit(v6(3), false).is_ok());
        drop(_second);
        drop(_other);
        let table = all.table.lock();
        assert!(table.open == 0 && table.by_address.is_empty() && table.handshakes.is_empty());
    }

    #[test]
    fn trusted_proxies_are_limited_by_the_whole_alone() {
        let all = connections(4, 1, 3);
        let proxy = ip("127.0.0.1");
        let _heads: Vec<_> = (0..3).map(|_| all.admit(proxy, true).unwrap()).collect();
        assert_eq!(
            all.admit(proxy, true).err(),
            Some(Full::Server),
            "nobody to cut off"
        );
        assert_eq!(all.admit(ip("10.0.0.1"), false).err(), Some(Full::Server));
    }
}
