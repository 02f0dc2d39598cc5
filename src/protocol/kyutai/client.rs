//! Messages of the client, as they are on the wire.

use bytes::Bytes;
use serde::Deserialize;

use super::Form;
use super::msgpack::{self, Fields};
use crate::stream::end::EndReason;
use crate::stream::secret::Secret;

/// One message of the client.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientMsg {
    /// Reset the model's state; the clock of the stream goes on.
    Init,
    Audio(Sound),
    /// Tell when all audio up to here has been transcribed.
    Marker {
        id: i64,
    },
    /// Transcribe all audio up to here now, without waiting for more.
    Flush,
    /// No more audio follows: send what is left and close.
    EndOfStream,
    /// A newer token for the same user, before the one that opened the session runs out.
    Renew {
        token: Secret,
    },
}

/// Audio as it came, mono.
#[derive(Clone, Debug, PartialEq)]
pub enum Sound {
    /// Little-endian 32-bit floats at 24 kHz, a whole number of them.
    F32(Bytes),
    /// Little-endian 16-bit samples at the rate of the session's [`Form`].
    Pcm16(Bytes),
    /// Part of an Ogg/Opus stream.
    Ogg(Bytes),
}

/// A message that cannot be understood: why the session ends, and what to tell the client.
#[derive(Debug, PartialEq, Eq)]
pub struct BadMessage {
    pub reason: EndReason,
    pub message: String,
}

fn malformed(message: impl Into<String>) -> BadMessage {
    BadMessage {
        reason: EndReason::BadMessage,
        message: message.into(),
    }
}

fn unknown(kind: &str) -> BadMessage {
    let kind: String = kind.chars().take(32).collect();
    BadMessage {
        reason: EndReason::Unsupported,
        message: format!("unknown message type `{kind}`"),
    }
}

#[derive(Deserialize)]
#[serde(tag = "type")]
enum JsonMsg {
    Init,
    Marker { id: i64 },
    Flush,
    EndOfStream,
    Renew { token: String },
}

impl ClientMsg {
    /// Reads a binary frame.
    ///
    /// # Errors
    /// The bytes are no message of a session that speaks `form`.
    pub fn from_binary(frame: Bytes, form: Form) -> Result<Self, BadMessage> {
        if form.pcm16.is_some() {
            return Ok(Self::Audio(Sound::Pcm16(frame)));
        }
        let fields = Fields::parse(&frame).map_err(malformed)?;
        Ok(match fields.kind {
            "Audio" => Self::Audio(Sound::F32(
                fields
                    .get("pcm", 0)
                    .and_then(msgpack::floats)
                    .map_err(malformed)?,
            )),
            "OggOpus" => Self::Audio(Sound::Ogg(
                fields
                    .get("data", 0)
                    .and_then(msgpack::octets)
                    .map_err(malformed)?,
            )),
            "Init" => Self::Init,
            "Marker" => Self::Marker {
                id: fields
                    .get("id", 0)
                    .and_then(msgpack::integer)
                    .map_err(malformed)?,
            },
            "Flush" if form.extras => Self::Flush,
            "EndOfStream" if form.extras => Self::EndOfStream,
            "Renew" if form.extras => Self::Renew {
                token: fields
                    .get("token", 0)
                    .and_then(msgpack::string)
                    .map_err(malformed)?
                    .into(),
            },
            other => return Err(unknown(other)),
        })
    }

    /// Reads a text frame. Kyutai's server ignores them, so without extras there is nothing in one.
    ///
    /// # Errors
    /// The text is no control message in JSON.
    pub fn from_text(frame: &[u8], form: Form) -> Result<Option<Self>, BadMessage> {
        if !form.extras && form.pcm16.is_none() {
            return Ok(None);
        }
        let message = serde_json::from_slice(frame).map_err(|e| {
            malformed(format!(
                "a text frame must be a JSON control message like {{\"type\":\"Flush\"}} ({})",
                if e.is_data() {
                    "unknown type or field"
                } else {
                    "not valid JSON"
                }
            ))
        })?;
        Ok(Some(match message {
            JsonMsg::Init => Self::Init,
            JsonMsg::Marker { id } => Self::Marker { id },
            JsonMsg::Flush => Self::Flush,
            JsonMsg::EndOfStream => Self::EndOfStream,
            JsonMsg::Renew { token } => Self::Renew { token: token.into() },
        }))
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
