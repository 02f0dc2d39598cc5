//! Gradium's live transcription: JSON both ways, nearly Kyutai's own messages, pause heads included.

mod decoder;
mod encoder;
mod messages;
mod shared;

use self::decoder::SpeechDecoder;
use self::encoder::SpeechEncoder;
use self::shared::Shared;
use super::dialect::Dialect;
use super::query::BadQuery;
use super::service::{Model, Refusal, Service};

/// Path of the socket.
pub const SPEECH: &str = "/api/speech/asr";
/// Path of the route that gives out credentials for browsers.
pub const TOKEN: &str = "/api/api-keys/token";
/// Query parameter that carries a credential on [`SPEECH`].
pub const TOKEN_PARAMETER: &str = "token";

/// Live transcription.
pub static SERVICE: Service = Service {
    open,
    refusal,
    full_in_words: true,
};

fn open(_: &str, model: Model<'_>) -> Result<Dialect, BadQuery> {
    let shared = Shared::default();
    Ok(Dialect {
        decoder: Box::new(SpeechDecoder::new(shared.clone())),
        encoder: Box::new(SpeechEncoder::new(model, shared)),
        can_queue: true,
    })
}

/// Says why a request is refused.
#[must_use]
pub fn refusal(_: u16, message: &str) -> Refusal {
    Refusal {
        body: serde_json::json!({ "detail": message }).to_string(),
        fields: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
