//! What the client says.

use bytes::Bytes;

use super::messages::{ClientMessage, ServerMessage};
use super::shared::Shared;
use crate::audio::live::{Format, Live};
use crate::protocol::dialect::{Decoder, FrameKind};
use crate::stream::end::{End, EndReason};
use crate::stream::input::{Control, Input};

/// The reading half.
pub(super) struct ListenDecoder {
    audio: Live,
    request_id: String,
    shared: Shared,
}

impl ListenDecoder {
    pub(super) fn new(format: Format, request_id: String, shared: Shared) -> Self {
        Self {
            audio: Live::new(format),
            request_id,
            shared,
        }
    }

    fn audio(&mut self, bytes: Bytes) -> Result<Option<Input>, End> {
        self.shared.heard(&bytes);
        let audio = self.audio.push(bytes);
        let audio = audio.map_err(|error| End::because(EndReason::BadAudio, error.to_string()))?;
        Ok(audio.map(Input::Audio))
    }

    fn end(&self) -> Input {
        self.shared.end();
        Input::Control(Control::End)
    }

    // A message that is not understood costs the client nothing else.
    fn text(&self, text: &[u8]) -> Option<Input> {
        match serde_json::from_slice(text) {
            Ok(ClientMessage::KeepAlive) => Some(Input::KeepAlive),
            Ok(ClientMessage::Finalize) => Some(Input::Control(Control::Flush)),
            Ok(ClientMessage::CloseStream) => Some(self.end()),
            Ok(ClientMessage::Configure) => {
                let failure = ServerMessage::ConfigureFailure {
                    request_id: &self.request_id,
                    code: "NOT_SUPPORTED",
                    description: "a session keeps the options of its query: open another connection",
                };
                self.shared.reply(failure.to_json());
                None
            }
            Err(_) => {
                let error = ServerMessage::Error {
                    variant: "SchemaError",
                    description: "the message was not understood and is ignored",
                    message: "send audio as binary messages, and KeepAlive, Finalize or CloseStream as JSON text",
                };
                self.shared.reply(error.to_json());
                None
            }
        }
    }
}

impl Decoder for ListenDecoder {
    fn decode(&mut self, kind: FrameKind, message: Bytes) -> Result<Option<Input>, End> {
        match kind {
            // The older way to close a stream, which some clients still use.
            FrameKind::Binary if message.is_empty() => Ok(Some(self.end())),
            FrameKind::Binary => self.audio(message),
            FrameKind::Text => Ok(self.text(&message)),
        }
    }

    fn replies(&self) -> bool {
        self.shared.waits()
    }
}
