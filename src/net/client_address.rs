//! The address of the client behind trusted proxies.

use std::net::SocketAddr;

use axum::http::HeaderMap;

use crate::config::ServerConfig;

/// The address of the connection, or what a trusted proxy in front says: the last address in `X-Forwarded-For`, which is
/// the one the proxy itself saw, or `X-Real-IP`.
pub(super) fn client_address(headers: &HeaderMap, peer: SocketAddr, server: &ServerConfig) -> SocketAddr {
    if !server.trusts(peer.ip()) {
        return peer;
    }
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let said = header("x-forwarded-for")
        .and_then(|list| {
            list.rsplit(',')
                .map(str::trim)
                .find(|ip| ip.parse().is_ok_and(|ip| !server.trusts(ip)))
        })
        .or_else(|| header("x-real-ip"));
    said.and_then(|ip| ip.trim().parse().ok())
        .map_or(peer, |ip| SocketAddr::new(ip, 0))
}
