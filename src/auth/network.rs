//! Who is counted as one client, by address.

use std::net::{IpAddr, Ipv6Addr};

/// A network that is counted as one client: an IPv4 address, or a prefix of IPv6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    /// Returns the network that `address` is counted as: an IPv6 client owns its whole /64.
    #[must_use]
    pub fn client(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self::v6(address, 64),
            address => Self { address, prefix: 32 },
        }
    }

    /// Returns the network of the whole site, for IPv6: it is usually given a /48.
    pub(super) fn site(address: IpAddr) -> Option<Self> {
        match address.to_canonical() {
            IpAddr::V6(address) => Some(Self::v6(address, 48)),
            IpAddr::V4(_) => None,
        }
    }

    fn v6(address: Ipv6Addr, prefix: u8) -> Self {
        let mask = u128::MAX << (128 - prefix);
        Self {
            address: Ipv6Addr::from_bits(address.to_bits() & mask).into(),
            prefix,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ipv6_client_is_counted_by_its_network() {
        let client = |text: &str| Network::client(text.parse().unwrap());
        assert_eq!(client("2001:db8::1:2"), client("2001:db8::ffff:1"));
        assert_ne!(client("2001:db8:0:1::1"), client("2001:db8:0:2::1"));
        assert_eq!(client("::ffff:1.2.3.4"), client("1.2.3.4"));
    }
}
