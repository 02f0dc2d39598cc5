//! Kyutai's text-to-speech protocol: text and a voice in; audio and the times of words out.

mod client;
mod query;
mod server;

use bytes::Bytes;

pub use self::query::{Format, SpeechForm};
pub use self::server::SpeechMsg;

use crate::audio::encode::{OpusStream, PcmStream};
use crate::protocol::close;
use crate::protocol::dialect::{Decoder, Dialect, Encoder, FrameKind};
use crate::protocol::query::BadQuery;
use crate::stream::end::{End, EndReason};
use crate::stream::input::Input;
use crate::stream::output::Output;
use crate::stream::sound::Sound;

/// Room for a voice: 10 s of vectors of 512 numbers in MessagePack.
const VOICE_BYTES: usize = 512 << 10;

/// Opens the dialect as `query` asks.
///
/// # Errors
/// The query has a known key with a value that means nothing.
pub fn open(query: &str) -> Result<Dialect, BadQuery> {
    let form = SpeechForm::from_query(query)?;
    let encoder = Writer {
        form: form.clone(),
        opus: None,
        pcm: match form.format {
            Format::Pcm16(rate) => Some(PcmStream::new(rate)),
            _ => None,
        },
        headers: None,
    };
    Ok(Dialect {
        decoder: Box::new(Reader::default()),
        encoder: Box::new(encoder),
        can_queue: form.extras,
        speaker: form.speaker,
    })
}

#[derive(Default)]
struct Reader {
    /// The client has sent text: it is too late for a voice.
    has_text: bool,
}

impl Decoder for Reader {
    fn longest_message(&self) -> usize {
        VOICE_BYTES
    }

    fn decode(&mut self, kind: FrameKind, message: Bytes) -> Result<Option<Input>, End> {
        let input = match kind {
            FrameKind::Text => client::from_text(&message),
            FrameKind::Binary => client::from_binary(&message),
        }?;
        match &input {
            Input::Text(_) => self.has_text = true,
            Input::Voice(_) if self.has_text => {
                let message = "a voice must come before the first text";
                return Err(End::because(EndReason::BadMessage, message));
            }
            _ => {}
        }
        Ok(Some(input))
    }
}

struct Writer {
    form: SpeechForm,
    /// Made with the stream's first event.
    opus: Option<OpusStream>,
    pcm: Option<PcmStream>,
    /// Header pages that are still to be sent.
    headers: Option<Vec<u8>>,
}

impl Encoder for Writer {
    fn encode(&mut self, output: Output, message: &mut Vec<u8>) -> Option<FrameKind> {
        message.clear();
        match output {
            Output::Ready => self.ready(message),
            Output::Sound(sound) => self.sound(&sound, message),
            Output::End if self.pcm.is_some() => {
                if let Some(pcm) = &mut self.pcm {
                    pcm.finish(message);
                }
                (!message.is_empty()).then_some(FrameKind::Binary)
            }
            other => self.say(&SpeechMsg::of(other)?, message),
        }
    }

    fn more(&mut self, message: &mut Vec<u8>) -> Option<FrameKind> {
        let headers = self.headers.take()?;
        message.clear();
        self.pages(headers, message)
    }

    fn refuse(&mut self, why: &str, message: &mut Vec<u8>) -> Option<FrameKind> {
        message.clear();
        let why = why.to_owned();
        self.say(&SpeechMsg::Error { message: why }, message)
    }

    fn close<'e>(&self, end: &'e End) -> (u16, &'e str) {
        let (code, text) = close::frame(end);
        match (end.reason, &end.message) {
            (EndReason::Idle, None) => (code, "no text for too long"),
            (EndReason::Stalled, None) => (code, "text was not taken in time"),
            _ => (code, text),
        }
    }
}

impl Writer {
    fn ready(&mut self, message: &mut Vec<u8>) -> Option<FrameKind> {
        if self.form.format.is_opus() {
            // Without an encoder there is silence, which the client sees as a stream of headers only.
            self.opus = OpusStream::new().ok();
            self.headers = self.opus.as_mut().map(OpusStream::headers);
        }
        self.say(&SpeechMsg::Ready, message)
    }

    fn sound(&mut self, sound: &Sound, message: &mut Vec<u8>) -> Option<FrameKind> {
        match self.form.format {
            Format::Pcm => message.extend(sound.samples().iter().flat_map(|sample| sample.to_le_bytes())),
            Format::Pcm16(_) => {
                if let Some(pcm) = &mut self.pcm {
                    pcm.push(sound.samples(), message);
                }
            }
            Format::PcmMessagePack => server::audio(sound.samples(), message),
            Format::OggOpus | Format::OggOpusMessagePack => {
                let mut pages = Vec::new();
                self.opus.as_mut()?.push(sound.samples(), &mut pages);
                return self.pages(pages, message);
            }
        }
        (!message.is_empty()).then_some(FrameKind::Binary)
    }

    fn pages(&self, pages: Vec<u8>, message: &mut Vec<u8>) -> Option<FrameKind> {
        if self.form.format.has_messages() {
            SpeechMsg::OggOpus { data: pages }.encode(message);
        } else {
            *message = pages;
        }
        Some(FrameKind::Binary)
    }

    fn say(&self, said: &SpeechMsg, message: &mut Vec<u8>) -> Option<FrameKind> {
        if !self.form.format.has_messages() || said.is_extra() && !self.form.extras {
            return None;
        }
        said.encode(message);
        Some(FrameKind::Binary)
    }
}

#[cfg(test)]
mod tests;
