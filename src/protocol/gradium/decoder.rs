//! What the client says.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;

use super::messages::ClientMessage;
use super::shared::Shared;
use crate::audio::g711::Law;
use crate::audio::live::{Format, Live, Samples};
use crate::protocol::dialect::{Decoder, FrameKind};
use crate::stream::end::{End, EndReason};
use crate::stream::frame::SAMPLE_RATE;
use crate::stream::input::{Control, Input, PcmRate};

/// Flushes that may be unanswered.
const MAX_FLUSHES: usize = 64;

/// The reading half.
pub(super) struct SpeechDecoder {
    /// From the setup on.
    audio: Option<Live>,
    /// The last message set the session up.
    set_up: bool,
    shared: Shared,
}

fn bad(message: impl Into<String>) -> End {
    End::because(EndReason::BadMessage, message)
}

impl SpeechDecoder {
    pub(super) const fn new(shared: Shared) -> Self {
        Self {
            audio: None,
            set_up: false,
            shared,
        }
    }

    fn read(&mut self, message: ClientMessage) -> Result<Option<Input>, End> {
        let Some(audio) = &mut self.audio else {
            let ClientMessage::Setup {
                input_format,
                client_req_id,
            } = message
            else {
                return Err(bad("send setup before anything else"));
            };
            self.audio = Some(Live::new(format(input_format.as_deref())?));
            self.shared.0.lock().setup = Some(client_req_id);
            self.set_up = true;
            return Ok(None);
        };
        match message {
            ClientMessage::Setup { .. } => Err(bad(
                "the session is set up already: open a connection per request",
            )),
            ClientMessage::Audio { audio: text } => {
                let bytes = STANDARD
                    .decode(&text)
                    .map_err(|_| bad("audio must be base64 with padding"))?;
                let heard = audio.push(bytes.into());
                let heard = heard.map_err(|error| End::because(EndReason::BadAudio, error.to_string()))?;
                Ok(heard.map(Input::Audio))
            }
            ClientMessage::Flush { flush_id } => {
                let flushes = &mut self.shared.0.lock().flushes;
                if flushes.len() == MAX_FLUSHES {
                    return Err(bad(format!("more than {MAX_FLUSHES} flushes at once")));
                }
                flushes.push_back(flush_id);
                Ok(Some(Input::Control(Control::Flush)))
            }
            ClientMessage::EndOfStream => Ok(Some(Input::Control(Control::End))),
        }
    }
}

/// Reads `input_format`; clients that leave it out send WAV.
fn format(name: Option<&str>) -> Result<Format, End> {
    let unknown = |name: &str| {
        bad(format!(
            "input_format {name}: use pcm (24 kHz), pcm_RATE, wav, opus (in Ogg), ulaw_8000 or alaw_8000"
        ))
    };
    let raw = |samples, name: &str, hz: Option<u32>| {
        let rate = hz.and_then(PcmRate::new).ok_or_else(|| unknown(name))?;
        Ok(Format::Raw {
            samples,
            rate,
            channels: 1,
        })
    };
    match name.unwrap_or("wav") {
        "wav" => Ok(Format::Container),
        "opus" => Ok(Format::OggOpus),
        name @ "pcm" => raw(Samples::Linear16, name, Some(SAMPLE_RATE)),
        name @ "ulaw_8000" => raw(Samples::G711(Law::Mu), name, Some(8_000)),
        name @ "alaw_8000" => raw(Samples::G711(Law::A), name, Some(8_000)),
        name => match name.strip_prefix("pcm_") {
            Some(hz) => raw(Samples::Linear16, name, hz.parse().ok()),
            None => Err(unknown(name)),
        },
    }
}

impl Decoder for SpeechDecoder {
    fn decode(&mut self, kind: FrameKind, message: Bytes) -> Result<Option<Input>, End> {
        self.set_up = false;
        if kind == FrameKind::Binary {
            return Err(bad("send JSON in text messages, audio in base64"));
        }
        let message = serde_json::from_slice(&message).map_err(|error| {
            bad(if error.is_data() {
                "unknown message: send setup, audio, flush or end_of_stream"
            } else {
                "the message is not valid JSON"
            })
        })?;
        self.read(message)
    }

    fn replies(&self) -> bool {
        self.set_up
    }
}
