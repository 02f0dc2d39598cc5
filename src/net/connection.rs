//! One connection: its requests, served by hyper, until it ends or becomes a WebSocket.

use std::convert::Infallible;
use std::error::Error as _;
use std::future::pending;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use hyper::body::Incoming;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::Peer;
use super::client_address::client_address;
use super::connections::{Handshake, Permit};
use super::log_limit::LogLimit;
use super::refusal::Refusal;
use super::stall::StallTimeout;
use crate::config::{Limits, ServerConfig};
use crate::shutdown::Lifecycle;
use crate::telemetry::Meters;
use crate::telemetry::labels::Unserved;

/// A head that is too long is read up to so many times the limit, so that its sender can be told.
const HEARD_OUT: usize = 4;

/// What every connection of a listener is served with.
pub(super) struct Front {
    pub(super) router: Router,
    pub(super) server: ServerConfig,
    pub(super) limits: Arc<Limits>,
    pub(super) meters: Meters,
}

/// Keeps the connection's permit with the request, for whoever serves the socket after an upgrade.
#[derive(Clone)]
pub(super) struct Held(#[expect(dead_code, reason = "kept for its drop")] Arc<Permit>);

/// Serves the connection until it ends, gives way to another before its first request, or the process stops.
pub(super) async fn serve(
    stream: TcpStream,
    peer: SocketAddr,
    (permit, handshake): (Arc<Permit>, Handshake),
    front: &Front,
    mut lifecycle: watch::Receiver<Lifecycle>,
) {
    let limits = &front.limits;
    let told = handshake.give_way();
    let handshake = Mutex::new(Some(handshake));
    let service = hyper::service::service_fn(|request: Request<Incoming>| {
        // The head has come.
        drop(handshake.lock().take());
        front.answer(request, peer, Held(Arc::clone(&permit)))
    });
    let stream = StallTimeout::new(stream, limits.write_timeout);
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake_timeout)
        .max_buf_size(limits.max_head_bytes.saturating_mul(HEARD_OUT))
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let over = async {
        // An error means that nobody is left to say so.
        let _ = lifecycle
            .wait_for(|l| matches!(l, Lifecycle::Failed | Lifecycle::Stopped))
            .await;
    };
    let give_way = async {
        told.notified().await;
        // The head may have come in the same moment.
        if handshake.lock().is_none() {
            pending::<()>().await;
        }
    };
    let result = tokio::select! {
        result = &mut connection => Some(result),
        () = over => None,
        () = give_way => return,
    };
    let result = match result {
        Some(result) => result,
        None => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = result {
        if is_stalled(&error) {
            front
                .meters
                .connections
                .unserved
                .of(Unserved::NotRead)
                .increment(1);
        }
        if error.is_parse_too_large() {
            // hyper has answered 431 by itself.
            front.report_head(peer, None);
        }
        tracing::debug!(%error, "connection ended");
    }
}

impl Front {
    async fn answer(
        &self,
        mut request: Request<Incoming>,
        peer: SocketAddr,
        held: Held,
    ) -> Result<Response, Infallible> {
        let peer = Peer(client_address(request.headers(), peer, &self.server));
        let (length, most) = (head_bytes(&request), self.limits.max_head_bytes);
        if length > most {
            self.report_head(peer.0, Some(length));
            return Ok(head_too_long(length, most));
        }
        let extensions = request.extensions_mut();
        extensions.insert(peer);
        extensions.insert(held);
        self.router.clone().oneshot(request.map(Body::new)).await
    }

    /// Leaves word of a request head that is too long; `length` where all of it was read.
    fn report_head(&self, peer: SocketAddr, length: Option<usize>) {
        static LINES: LogLimit = LogLimit::new();
        let unserved = &self.meters.connections.unserved;
        unserved.of(Unserved::Head).increment(1);
        if LINES.allows(Instant::now()) {
            let most = self.limits.max_head_bytes;
            tracing::warn!(
                %peer,
                length,
                "a request head is longer than limits.max_head_bytes = {most}; cookies are the usual reason"
            );
        }
    }
}

/// Bytes of the request line and the headers, as they came but for spaces around values.
fn head_bytes<B>(request: &Request<B>) -> usize {
    // " HTTP/1.1" and the ends of the first and the last line; ": " and the end of each header's.
    const FIRST_AND_LAST: usize = 14;
    const HEADER: usize = 4;
    let target = request
        .uri()
        .path_and_query()
        .map_or(0, |target| target.as_str().len());
    let headers = request.headers().iter();
    let headers: usize = headers
        .map(|(name, value)| name.as_str().len() + value.len() + HEADER)
        .sum();
    request.method().as_str().len() + target + FIRST_AND_LAST + headers
}

fn head_too_long(length: usize, most: usize) -> Response {
    let message = format!(
        "the head of this request has {length} bytes and may have {most}: send fewer or shorter cookies, or raise \
         limits.max_head_bytes"
    );
    let mut response = Refusal::new(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, message).into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(header::CONNECTION, close);
    response
}

/// True when the peer took nothing of an answer for too long.
fn is_stalled(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|cause| cause.downcast_ref::<io::Error>());
    cause.is_some_and(|cause| cause.kind() == io::ErrorKind::TimedOut)
}
