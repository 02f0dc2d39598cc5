//! The accept loop: connections in, up to a limit, each served by hyper.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tower::ServiceExt;

use super::Peer;
use crate::config::{Limits, ServerConfig};
use crate::shutdown::Lifecycle;
use crate::telemetry::Meters;
use crate::telemetry::labels::{LinkName, Refused, SharedLink};

/// Pause after the system had no descriptor left for a connection.
const BACK_OFF: Duration = Duration::from_millis(50);
/// Bytes of a request head.
const MAX_HEAD: usize = 16 << 10;

const NO_ROOM: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 21\r\n\r\ntoo many connections\n";

/// Serves `router` on `listener` until the process stops.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    server: ServerConfig,
    limits: Arc<Limits>,
    mut lifecycle: watch::Receiver<Lifecycle>,
    meters: Meters,
) {
    let connections = Arc::new(Semaphore::new(limits.max_connections.min(Semaphore::MAX_PERMITS)));
    let handshakes = Arc::new(Semaphore::new(limits.max_handshakes.min(Semaphore::MAX_PERMITS)));
    let server = Arc::new(server);
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = lifecycle.wait_for(|l| *l == Lifecycle::Stopped) => return,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                on_accept_error(&error).await;
                continue;
            }
        };
        // Audio comes in small packets that must not wait for each other. Without it the server still works.
        let _ = stream.set_nodelay(true);
        let permits = (
            Arc::clone(&connections).try_acquire_owned(),
            Arc::clone(&handshakes).try_acquire_owned(),
        );
        let (Ok(permit), Ok(handshake)) = permits else {
            meters.links.full.of(LinkName::Connections).increment(1);
            meters.admission.refused.of(Refused::Connections).increment(1);
            tokio::spawn(refuse(stream, limits.handshake_timeout));
            continue;
        };
        let (router, server, limits) = (router.clone(), Arc::clone(&server), Arc::clone(&limits));
        let lifecycle = lifecycle.clone();
        let open = meters.links.depth.of(SharedLink::Connections).clone();
        open.increment(1);
        tokio::spawn(async move {
            connection(stream, (peer, handshake), router, &server, &limits, lifecycle).await;
            open.decrement(1);
            drop(permit);
        });
    }
}

async fn on_accept_error(error: &io::Error) {
    // The peer went away first; anything else is the system short of something, which only time can change.
    if !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        tracing::warn!(%error, "cannot accept connections; is the limit of open files too low?");
        tokio::time::sleep(BACK_OFF).await;
    }
}

async fn refuse(mut stream: TcpStream, patience: Duration) {
    let _ = tokio::time::timeout(patience, async {
        stream.write_all(NO_ROOM).await?;
        stream.shutdown().await
    })
    .await;
}

async fn connection(
    stream: TcpStream,
    (peer, handshake): (SocketAddr, OwnedSemaphorePermit),
    router: Router,
    server: &ServerConfig,
    limits: &Limits,
    mut lifecycle: watch::Receiver<Lifecycle>,
) {
    let handshake = Mutex::new(Some(handshake));
    let service = hyper::service::service_fn(|mut request: Request<Incoming>| {
        // The head has come.
        drop(handshake.lock().take());
        let peer = Peer(client_address(&request, peer, server));
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request.map(Body::new))
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let over = async {
        // An error means that nobody is left to say so.
        let _ = lifecycle
            .wait_for(|l| matches!(l, Lifecycle::Failed | Lifecycle::Stopped))
            .await;
    };
    let result = tokio::select! {
        result = &mut connection => Some(result),
        () = over => None,
    };
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "connection ended");
    }
}

/// The address of the connection, or what a trusted proxy in front says: the last address in `X-Forwarded-For`, which is
/// the one the proxy itself saw, or `X-Real-IP`.
fn client_address<B>(request: &Request<B>, peer: SocketAddr, server: &ServerConfig) -> SocketAddr {
    if !server.trusts(peer.ip()) {
        return peer;
    }
    let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
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

#[cfg(test)]
mod tests {
    use super::*;

    fn address(proxies: &[&str], headers: &[(&str, &str)]) -> String {
        let server = ServerConfig {
            trusted_proxies: proxies.iter().map(|p| p.parse().unwrap()).collect(),
            ..ServerConfig::default()
        };
        let mut request = Request::builder();
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let peer = SocketAddr::from(([10, 0, 0, 1], 4));
        client_address(&request.body(()).unwrap(), peer, &server)
            .ip()
            .to_string()
    }

    #[test]
    fn only_trusted_proxies_are_believed_and_only_what_they_saw() {
        let forged = [("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.0.0.7")];
        assert_eq!(address(&[], &forged), "10.0.0.1");
        assert_eq!(address(&["10.0.0.0/8"], &forged), "2.2.2.2");
        assert_eq!(address(&["10.0.0.0/8"], &[("x-real-ip", "3.3.3.3")]), "3.3.3.3");
        assert_eq!(address(&["10.0.0.0/8"], &[("x-real-ip", "nobody")]), "10.0.0.1");
    }

    #[test]
    fn the_refusal_says_how_long_it_is() {
        let text = std::str::from_utf8(NO_ROOM).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("content-length: {}", body.len())));
    }
}
