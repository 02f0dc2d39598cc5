//! Reads the events of a Realtime client.

use std::sync::Arc;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Deserialize;
use serde_json::Value;

use super::events;
use super::session::Format;
use super::shared::{Asked, Shared};
use crate::protocol::dialect::{Decoder, FrameKind};
use crate::protocol::openai::error::ApiError;
use crate::stream::end::End;
use crate::stream::input::{AudioBytes, Control, Encoding, Input, PcmRate};

/// Most bytes of a message: clients append whole recordings at once.
const MAX_MESSAGE: usize = 2 << 20;

/// Clients in many languages leave the padding out.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An event of the client, as far as it is looked at.
#[derive(Deserialize)]
struct ClientEvent {
    #[serde(rename = "type")]
    kind: String,
    event_id: Option<String>,
    session: Option<Value>,
    audio: Option<String>,
}

/// The half that reads.
pub(super) struct Reader {
    shared: Arc<Mutex<Shared>>,
}

impl Reader {
    pub(super) const fn new(shared: Arc<Mutex<Shared>>) -> Self {
        Self { shared }
    }
}

impl Decoder for Reader {
    fn decode(&mut self, kind: FrameKind, message: Bytes) -> Result<Option<Input>, End> {
        let mut shared = self.shared.lock();
        let parsed = match kind {
            FrameKind::Text => serde_json::from_slice(&message).ok(),
            FrameKind::Binary => None,
        };
        let Some(event) = parsed else {
            let message =
                "an event is a JSON object with a `type`; audio is sent in input_audio_buffer.append";
            shared.fail(&ApiError::invalid(None, message), None)?;
            return Ok(None);
        };
        let event: ClientEvent = event;
        match input(&event, &mut shared) {
            Ok(input) => input,
            Err(error) => {
                shared.fail(&error, event.event_id.as_deref())?;
                Ok(None)
            }
        }
    }

    fn replies(&self) -> bool {
        let shared = self.shared.lock();
        shared.changed || !shared.replies.is_empty()
    }

    fn longest_message(&self) -> usize {
        MAX_MESSAGE
    }
}

/// What the event asks of the stream.
fn input(event: &ClientEvent, shared: &mut Shared) -> Result<Result<Option<Input>, End>, ApiError> {
    match &*event.kind {
        "session.update" | "transcription_session.update" => {
            shared
                .settings
                .update(event.session.as_ref().unwrap_or(&Value::Null))?;
            shared.changed = true;
            let name = format!("{}d", event.kind);
            let updated = events::session(&name, &shared.settings);
            Ok(shared.reply(updated).map(|()| None))
        }
        "input_audio_buffer.append" => {
            let audio = event.audio.as_deref().unwrap_or_default();
            let data = BASE64.decode(audio).map_err(|_| {
                ApiError::invalid(Some("audio"), "`audio` must be base64 (RFC 4648, section 4)")
            })?;
            let (data, rate) = match shared.settings.format {
                Format::Pcm(rate) => (data, rate),
                // invariant: the rate of telephones is one of `PcmRate` (tested).
                Format::G711(law) => (law.expand(&data), PcmRate::new(8_000).unwrap_or_default()),
            };
            let (encoding, data) = (Encoding::Pcm16(rate), data.into());
            Ok(Ok(Some(Input::Audio(AudioBytes { encoding, data }))))
        }
        "input_audio_buffer.commit" => {
            shared.asked.push_back(Asked::Commit);
            Ok(Ok(Some(Input::Control(Control::Flush))))
        }
        "input_audio_buffer.clear" => {
            shared.asked.push_back(Asked::Clear);
            Ok(Ok(Some(Input::Control(Control::Restart))))
        }
        _ => {
            let message = "this server transcribes only: it knows session.update, input_audio_buffer.append, \
                           input_audio_buffer.commit and input_audio_buffer.clear";
            Err(ApiError::invalid(Some("type"), message))
        }
    }
}
