//! The accept loop: connections in, up to their limits, each served in a task of its own.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::connection::{self, Front};
use super::connections::{Connections, Full};
use super::log_limit::LogLimit;
use crate::config::{Limits, ServerConfig};
use crate::shutdown::Lifecycle;
use crate::telemetry::Meters;

/// Pause after the system had no descriptor left for a connection.
const BACK_OFF: Duration = Duration::from_millis(50);

/// Answers before any request was read.
const SERVER_FULL: &[u8] =
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 21\r\n\r\ntoo many connections\n";
const ADDRESS_FULL: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nretry-after: 2\r\nconnection: close\r\ncontent-length: 39\r\n\r\ntoo many connections from your address\n";

/// Serves `router` on `listener` until the process stops.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    server: ServerConfig,
    limits: Arc<Limits>,
    mut lifecycle: watch::Receiver<Lifecycle>,
    meters: Meters,
) {
    let connections = Connections::new(&limits, meters.clone());
    let front = Arc::new(Front {
        router,
        server,
        limits,
        meters,
    });
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
        match connections.admit(peer.ip(), front.server.trusts(peer.ip())) {
            Ok(admitted) => {
                let (front, lifecycle) = (Arc::clone(&front), lifecycle.clone());
                tokio::spawn(async move {
                    connection::serve(stream, peer, admitted, &front, lifecycle).await;
                });
            }
            Err(full) => {
                tokio::spawn(refuse(stream, full, front.limits.handshake_timeout));
            }
        }
    }
}

async fn on_accept_error(error: &io::Error) {
    static LINES: LogLimit = LogLimit::new();
    // The peer went away first; anything else is the system short of something, which only time can change.
    if !matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset
    ) {
        if LINES.allows(Instant::now()) {
            tracing::warn!(%error, "cannot accept connections; is the limit of open files too low?");
        }
        tokio::time::sleep(BACK_OFF).await;
    }
}

async fn refuse(mut stream: TcpStream, full: Full, patience: Duration) {
    let answer = match full {
        Full::Server => SERVER_FULL,
        Full::Address => ADDRESS_FULL,
    };
    let _ = tokio::time::timeout(patience, async {
        stream.write_all(answer).await?;
        stream.shutdown().await
    })
    .await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_say_how_long_they_are() {
        for answer in [SERVER_FULL, ADDRESS_FULL] {
            let text = std::str::from_utf8(answer).unwrap();
            let (head, body) = text.split_once("\r\n\r\n").unwrap();
            assert!(head.contains(&format!("content-length: {}", body.len())));
        }
    }
}
