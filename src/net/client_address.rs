//! The address of the client behind trusted proxies.
//!
//! Each proxy adds the address that it saw to the end of `X-Forwarded-For`, on the same line or on one of its own, or to
//! `Forwarded` (RFC 7239). What stands before the entry of the last trusted proxy was written by whoever it is about, so the
//! list is walked from its end, and nothing behind the first entry that is no trusted proxy is looked at.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};

use crate::config::ServerConfig;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");

/// Returns the address of the client that sent a request with `headers` over a connection from `peer`. Where the proxies say
/// nothing, or nothing that can be believed, it is `peer`.
pub(super) fn client_address(headers: &HeaderMap, peer: SocketAddr, server: &ServerConfig) -> SocketAddr {
    if !server.trusts(peer.ip()) {
        return peer;
    }
    let chains = [
        headers
            .contains_key(X_FORWARDED_FOR)
            .then(|| walk(entries(headers, &X_FORWARDED_FOR), server)),
        headers
            .contains_key(header::FORWARDED)
            .then(|| walk(forwarded(headers), server)),
    ];
    let said = match chains {
        // Which of the two the proxy wrote and which the client did cannot be known, unless they agree.
        [Some(one), Some(other)] => one.filter(|one| other.is_some_and(|other| one.ip() == other.ip())),
        [Some(one), None] | [None, Some(one)] => one,
        [None, None] => {
            let mut lines = headers.get_all(X_REAL_IP).iter();
            match (lines.next(), lines.next()) {
                (Some(only), None) => only.to_str().ok().and_then(node),
                _ => None,
            }
        }
    };
    said.unwrap_or(peer)
}

/// Goes through `entries`, last one first, to the first that is no trusted proxy; none when that one is no address. Where all
/// are trusted proxies it is the last one, which the proxy at the other end of the connection saw itself.
fn walk(entries: impl Iterator<Item = Option<SocketAddr>>, server: &ServerConfig) -> Option<SocketAddr> {
    let mut last = None;
    for entry in entries {
        let entry = entry?;
        if !server.trusts(entry.ip()) {
            return Some(entry);
        }
        last.get_or_insert(entry);
    }
    last
}

/// The entries of all header lines `name`, last one first; none for what is no address.
fn entries(headers: &HeaderMap, name: &HeaderName) -> impl Iterator<Item = Option<SocketAddr>> {
    let lines = headers.get_all(name).iter().rev();
    lines.flat_map(|line| text(line).rsplit(',').map(node))
}

/// The same of `Forwarded`: the node of each element's `for=`.
fn forwarded(headers: &HeaderMap) -> impl Iterator<Item = Option<SocketAddr>> {
    let lines = headers.get_all(header::FORWARDED).iter().rev();
    // A comma in quotes would be cut in two, and neither half is an address then.
    lines.flat_map(|line| {
        text(line).rsplit(',').map(|element| {
            let mut pairs = element.split(';').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("for"))?;
            node(value)
        })
    })
}

/// What is no text is no address either, and counts as one entry that cannot be read.
fn text(line: &HeaderValue) -> &str {
    line.to_str().unwrap_or_default()
}

/// Reads `ip`, `ip:port`, `[v6]` or `[v6]:port`, in quotes or not. The port is 0 where none is given.
fn node(entry: &str) -> Option<SocketAddr> {
    let entry = entry.trim();
    let entry = entry
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
        .unwrap_or(entry)
        .trim();
    let alone = entry
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .filter(|v6| v6.contains(':'))
        .unwrap_or(entry);
    let ip = alone.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 0));
    let address = ip.or_else(|_| entry.parse::<SocketAddr>()).ok()?;
    Some(SocketAddr::new(address.ip().to_canonical(), address.port()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The connection comes from 10.0.0.1; trusted are 10.0.0.0/8 and fd00::/8.
    fn address(lines: &[(&'static str, &[u8])]) -> String {
        let server = ServerConfig {
            trusted_proxies: ["10.0.0.0/8", "fd00::/8"].map(|p| p.parse().unwrap()).to_vec(),
            ..ServerConfig::default()
        };
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_bytes(value).unwrap());
        }
        let peer = SocketAddr::from(([10, 0, 0, 1], 4));
        client_address(&headers, peer, &server).to_string()
    }

    const PEER: &str = "10.0.0.1:4";

    #[test]
    fn every_form_of_an_entry_is_read() {
        for (entry, wanted) in [
            ("2.2.2.2", "2.2.2.2:0"),
            ("2.2.2.2:4711", "2.2.2.2:4711"),
            ("\"2.2.2.2:4711\"", "2.2.2.2:4711"),
            ("2001:db8::2", "[2001:db8::2]:0"),
            ("[2001:db8::2]", "[2001:db8::2]:0"),
            ("[2001:db8::2]:4711", "[2001:db8::2]:4711"),
            ("\"[2001:db8::2]:4711\"", "[2001:db8::2]:4711"),
            ("::ffff:2.2.2.2", "2.2.2.2:0"),
            (" 2.2.2.2\t", "2.2.2.2:0"),
            ("unknown", PEER),
            ("_hidden", PEER),
            ("", PEER),
            ("2.2.2.2:", PEER),
            ("2.2.2.2:99999", PEER),
            ("[2.2.2.2]", PEER),
            ("[2001:db8::2", PEER),
            ("fe80::1%eth0", PEER),
            ("\"2.2.2.2", PEER),
        ] {
            let list = format!("1.1.1.1, {entry}");
            assert_eq!(
                address(&[("x-forwarded-for", list.as_bytes())]),
                wanted,
                "{entry}"
            );
            let element = format!("for=1.1.1.1, for={entry};proto=https");
            assert_eq!(
                address(&[("forwarded", element.as_bytes())]),
                wanted,
                "for={entry}"
            );
        }
    }

    #[test]
    fn the_list_ends_at_the_first_entry_that_is_no_trusted_proxy() {
        type Lines<'a> = &'a [(&'static str, &'a [u8])];
        let cases: &[(Lines<'_>, &str)] = &[
            (&[("x-forwarded-for", b"1.1.1.1, 2.2.2.2, 10.0.0.7")], "2.2.2.2:0"),
            (
                &[("x-forwarded-for", b"1.1.1.1, 2.2.2.2:80, fd00::7, [fd00::8]:80")],
                "2.2.2.2:80",
            ),
            // A proxy that adds a line of its own.
            (
                &[("x-forwarded-for", b"1.1.1.1"), ("x-forwarded-for", b"2.2.2.2")],
                "2.2.2.2:0",
            ),
            (
                &[("x-forwarded-for", b"2.2.2.2"), ("x-forwarded-for", b"10.0.0.7")],
                "2.2.2.2:0",
            ),
            (
                &[
                    ("forwarded", b"for=1.1.1.1"),
                    ("forwarded", b"For=\"2.2.2.2:80\";by=10.0.0.7"),
                ],
                "2.2.2.2:80",
            ),
            // What cannot be read hides what was written before it.
            (&[("x-forwarded-for", b"1.1.1.1, unknown")], PEER),
            (&[("x-forwarded-for", b"1.1.1.1, unknown, 10.0.0.7")], PEER),
            (&[("x-forwarded-for", b"1.1.1.1, ")], PEER),
            (
                &[("x-forwarded-for", b"1.1.1.1"), ("x-forwarded-for", b"\xff")],
                PEER,
            ),
            (&[("forwarded", b"for=1.1.1.1, proto=https")], PEER),
            (
                &[("forwarded", b"for=1.1.1.1, for=\"2.2.2.2, for=3.3.3.3\"")],
                PEER,
            ),
            // All inside the trusted network: only the last one was not written by a client.
            (&[("x-forwarded-for", b"10.9.9.9, 10.0.0.7")], "10.0.0.7:0"),
            // Another header cannot add to or contradict the list.
            (
                &[("x-forwarded-for", b"10.0.0.7"), ("x-real-ip", b"1.1.1.1")],
                "10.0.0.7:0",
            ),
            (
                &[("x-forwarded-for", b"unknown"), ("x-real-ip", b"1.1.1.1")],
                PEER,
            ),
            (
                &[("x-forwarded-for", b"2.2.2.2"), ("forwarded", b"for=1.1.1.1")],
                PEER,
            ),
            (
                &[
                    ("x-forwarded-for", b"2.2.2.2"),
                    ("forwarded", b"for=\"2.2.2.2:80\""),
                ],
                "2.2.2.2:0",
            ),
            (&[("x-real-ip", b"3.3.3.3")], "3.3.3.3:0"),
            (&[("x-real-ip", b"nobody")], PEER),
            (&[("x-real-ip", b"1.1.1.1"), ("x-real-ip", b"3.3.3.3")], PEER),
            (&[], PEER),
        ];
        for (lines, wanted) in cases {
            let shown: Vec<_> = lines
                .iter()
                .map(|(n, v)| (n, String::from_utf8_lossy(v)))
                .collect();
            assert_eq!(address(lines), *wanted, "{shown:?}");
        }
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let server = ServerConfig::default();
        let peer = SocketAddr::from(([10, 0, 0, 1], 4));
        let headers = HeaderMap::from_iter([(X_FORWARDED_FOR, HeaderValue::from_static("1.1.1.1"))]);
        assert_eq!(client_address(&headers, peer, &server), peer);
    }
}
