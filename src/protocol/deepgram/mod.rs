//! Deepgram's live transcription (`/v1/listen`): raw audio in, growing and final transcripts with word times out.
//!
//! Several of its published clients tell messages apart by their shape and drop, or fail on, one that lacks a field, so every
//! message has all of them.

mod decoder;
mod encoder;
mod messages;
mod options;
pub mod prerecorded;
mod shared;
mod text;

use self::decoder::ListenDecoder;
use self::encoder::ListenEncoder;
use self::options::Options;
use self::shared::Shared;
use super::dialect::Dialect;
use super::query::BadQuery;
use super::service::{Model, Refusal, Service};
use super::uuid;

/// Path of the socket.
pub const LISTEN: &str = "/v1/listen";
/// Path of the route that gives out credentials of short life.
pub const GRANT: &str = "/v1/auth/grant";

/// Live transcription.
pub static SERVICE: Service = Service {
    open,
    refusal,
    full_in_words: false,
};

/// Opens the dialect as `query` asks.
fn open(query: &str, model: Model<'_>) -> Result<Dialect, BadQuery> {
    let options = Options::from_query(query)?;
    let (shared, request_id) = (Shared::default(), uuid::random());
    let decoder = ListenDecoder::new(options.format, request_id.clone(), shared.clone());
    let encoder = ListenEncoder::new(options, request_id, model.name, shared);
    Ok(Dialect {
        decoder: Box::new(decoder),
        encoder: Box::new(encoder),
        can_queue: true,
    })
}

/// Says why a request is refused.
#[must_use]
pub fn refusal(status: u16, message: &str) -> Refusal {
    let request_id = uuid::random();
    let code = match status {
        400 | 405 | 422 => "Bad Request",
        401 => "INVALID_AUTH",
        403 => "INSUFFICIENT_PERMISSIONS",
        408 => "REQUEST_TIMEOUT",
        413 => "PAYLOAD_TOO_LARGE",
        429 => "TOO_MANY_REQUESTS",
        503 => "SERVICE_UNAVAILABLE",
        _ => "INTERNAL_SERVER_ERROR",
    };
    let body = serde_json::json!({ "err_code": code, "err_msg": message, "request_id": request_id });
    Refusal {
        body: body.to_string(),
        fields: vec![("dg-request-id", request_id), ("dg-error", message.to_owned())],
    }
}

#[cfg(test)]
mod tests;
