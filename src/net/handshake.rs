//! Whether a request opens a WebSocket (RFC 6455, section 4.2.1), and what is told to one that does not.

use std::time::Instant;

use axum::extract::Request;
use axum::http::{StatusCode, Version, header};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::Peer;
use super::log_limit::LogLimit;
use super::refusal::{Refusal, WEBSOCKET_VERSION};

/// Bytes of the nonce in `Sec-WebSocket-Key`.
const NONCE: usize = 16;

/// The commonest mistake in a proxy's configuration.
const PROXY: &str = "a proxy between the client and this server does not pass WebSockets on: it must speak HTTP/1.1 and keep the \
                     headers Upgrade and Connection; nginx needs `proxy_http_version 1.1; proxy_set_header Upgrade $http_upgrade; \
                     proxy_set_header Connection \"upgrade\";`";

/// Clients that fill the last character with bits that mean nothing are heard.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Checks the head of a request for a WebSocket.
///
/// # Errors
/// The answer: 426 to what asks for no WebSocket, for another version, or through a proxy that passes none on; 400 without a good key.
pub(super) fn check(request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    let asks = fastwebsockets::upgrade::is_upgrade_request(request);
    // Every client of WebSockets sends a key, and over HTTP/1.1: who asks otherwise was changed on the way.
    if (asks && request.version() < Version::HTTP_11)
        || (!asks && headers.contains_key(header::SEC_WEBSOCKET_KEY))
    {
        report_proxy(request);
        return Err(upgrade_required(PROXY));
    }
    if !asks {
        let message = "this is a WebSocket: connect with ws://, or POST an audio file";
        return Err(upgrade_required(message));
    }
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    if only(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != WEBSOCKET_VERSION) {
        let message = "this server speaks version 13 of the WebSocket protocol (RFC 6455), and no other";
        return Err(upgrade_required(message));
    }
    let key = only(header::SEC_WEBSOCKET_KEY).and_then(|key| BASE64.decode(key).ok());
    if key.is_none_or(|key| key.len() != NONCE) {
        let message = "Sec-WebSocket-Key must be 16 bytes in base64, once (RFC 6455, section 4.1)";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
    }
    Ok(())
}

/// Leaves word of a proxy that breaks every WebSocket; its operator and ours are often the same person.
fn report_proxy(request: &Request) {
    static LINES: LogLimit = LogLimit::new();
    if LINES.allows(Instant::now()) {
        let client = request.extensions().get::<Peer>().map(|peer| peer.0);
        tracing::warn!(client = client.map(tracing::field::display), version = ?request.version(), "{PROXY}");
    }
}

fn upgrade_required(message: &str) -> Refusal {
    Refusal::new(StatusCode::UPGRADE_REQUIRED, message)
}
