//! Clients that guess: bad credentials of every kind, at a steady pace, on connections that stay open.

use std::time::{Duration, Instant};

use axum::http::{HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::{sleep_until, timeout};

use super::session::TestRun;
use crate::client::ClientError;

/// Requests a second of one client.
pub(super) const PER_SECOND: u32 = 100;
/// Requests that follow each other at once; then the client waits for its pace.
const BURST: u32 = 10;
/// Longest wait for a connection or an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// `{"alg":"HS256"}`, a session that ends in the year 2286, and a signature of nobody: only checking it shows that it is bad.
const FORGED: &str = "eyJhbGciOiJIUzI1NiJ9.eyJpZCI6InMxIiwidXNlcklkIjoidTEiLCJpYXQiOjE4MDAwMDAwMDAsImV4cCI6OTk5OTk5OTk5OX0.\
                      AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const WRONG_KEY: HeaderValue = HeaderValue::from_static("no-such-key-of-anybody-0123456789");

/// Guesses until the test is over, and counts the answers by their status.
pub(super) async fn run(url: &str, test: &TestRun) -> Result<(), ClientError> {
    let target = Target::read(url)?;
    let lost = |_| ClientError::Lost;
    let socket = timeout(PATIENCE, TcpStream::connect(&target.authority))
        .await
        .map_err(|_| ClientError::Timeout(PATIENCE.as_secs()))?
        .map_err(|source| ClientError::Connect {
            address: target.authority.clone(),
            source,
        })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(lost)?;
    let connection = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(connection));
    let pace = Duration::from_secs(1) * BURST / PER_SECOND;
    let mut due = Instant::now();
    let mut number = 0;
    while Instant::now() < test.until && !connection.is_finished() {
        for _ in 0..BURST {
            sender.ready().await.map_err(lost)?;
            let answer = timeout(PATIENCE, sender.send_request(target.guess(number)))
                .await
                .map_err(|_| ClientError::Timeout(PATIENCE.as_secs()))?
                .map_err(lost)?;
            let status = answer.status();
            // The connection is free for the next request once the body is read.
            answer.into_body().collect().await.map_err(lost)?;
            count(test, status.as_u16());
            number += 1;
        }
        due += pace;
        sleep_until(due.into()).await;
    }
    Ok(())
}

fn count(test: &TestRun, status: u16) {
    let mut tally = test.tally.lock();
    *tally.rude.entry(format!("guess: answered {status}")).or_default() += 1;
}

/// Where the requests go.
struct Target {
    authority: String,
    path: String,
}

impl Target {
    fn read(url: &str) -> Result<Self, ClientError> {
        let wrong = || ClientError::Address(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        if uri.scheme_str() != Some("ws") {
            return Err(wrong());
        }
        let path = match uri.path() {
            "" | "/" => "/api/asr-streaming",
            path => path,
        };
        Ok(Self {
            authority: format!("{host}:{}", uri.port_u16().unwrap_or(80)),
            path: path.to_owned(),
        })
    }

    /// One bad request: a wrong key, a forged token or a forged cookie, at the question and at the socket in turn.
    fn guess(&self, number: u32) -> Request<Empty<bytes::Bytes>> {
        let path = &self.path;
        let at_the_socket = number % 2 == 1;
        let kind = number / 2 % 3;
        let path = if at_the_socket { path } else { "/api/auth-check" };
        let uri = if kind == 1 {
            format!("{path}?auth_id={FORGED}")
        } else {
            path.to_owned()
        };
        let mut request = Request::get(uri).header(header::HOST, &self.authority);
        if at_the_socket {
            request = request
                .header(header::UPGRADE, "websocket")
                .header(header::CONNECTION, "upgrade")
                .header(header::SEC_WEBSOCKET_KEY, "AAAAAAAAAAAAAAAAAAAAAA==")
                .header(header::SEC_WEBSOCKET_VERSION, "13");
        }
        request = match kind {
            0 => request.header("kyutai-api-key", WRONG_KEY),
            1 => request,
            _ => request
                .header(header::COOKIE, format!("better-auth.session_data={FORGED}"))
                .header(header::ORIGIN, format!("http://{}", self.authority)),
        };
        // invariant: every part was checked when the address was read, or is a constant.
        request
            .body(Empty::new())
            .expect("constant headers and a checked path")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_credential_is_tried_at_both_doors() {
        let target = Target::read("ws://127.0.0.1:8080").unwrap();
        let all: Vec<_> = (0..6).map(|n| target.guess(n)).collect();
        for request in &all {
            let tries = [
                request.headers().contains_key("kyutai-api-key"),
                request.headers().contains_key(header::COOKIE),
                request.uri().query().is_some_and(|q| q.starts_with("auth_id=ey")),
            ];
            assert_eq!(tries.iter().filter(|t| **t).count(), 1);
        }
        let sockets = all.iter().filter(|r| r.headers().contains_key(header::UPGRADE));
        assert!(sockets.clone().all(|r| r.uri().path() == "/api/asr-streaming"));
        assert_eq!(sockets.count(), 3);
    }

    #[test]
    fn only_plain_sockets_can_be_guessed_at() {
        for url in ["wss://h", "http://h", "h:1", "ws://"] {
            assert!(Target::read(url).is_err(), "{url}");
        }
    }
}
