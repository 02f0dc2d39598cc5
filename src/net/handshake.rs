//! Whether a request opens a WebSocket (RFC 6455, section 4.2.1), and what is told to one that does not.

use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};

use super::refusal::Refusal;

/// Bytes of the nonce in `Sec-WebSocket-Key`.
const NONCE: usize = 16;
/// The version of RFC 6455.
const VERSION: &str = "13";

/// Clients that fill the last character with bits that mean nothing are heard.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Checks the head of a request for a WebSocket.
///
/// # Errors
/// The answer: 426 to what asks for no WebSocket or for another version, 400 without a good key.
pub(super) fn check(request: &Request) -> Result<(), Response> {
    if !fastwebsockets::upgrade::is_upgrade_request(request) {
        return Err(upgrade_required(
            "this is a WebSocket: connect with ws://, or POST an audio file",
        ));
    }
    let headers = request.headers();
    let only = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none())
    };
    if only(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != VERSION) {
        return Err(upgrade_required(
            "this server speaks version 13 of the WebSocket protocol (RFC 6455), and no other",
        ));
    }
    let key = only(header::SEC_WEBSOCKET_KEY).and_then(|key| BASE64.decode(key).ok());
    if key.is_none_or(|key| key.len() != NONCE) {
        let message = "Sec-WebSocket-Key must be 16 bytes in base64, once (RFC 6455, section 4.1)";
        return Err(Refusal::new(StatusCode::BAD_REQUEST, message).into_response());
    }
    Ok(())
}

fn upgrade_required(message: &str) -> Response {
    let mut response = Refusal::new(StatusCode::UPGRADE_REQUIRED, message).into_response();
    let headers = response.headers_mut();
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static(VERSION));
    response
}
