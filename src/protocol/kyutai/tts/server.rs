//! Messages of the server to a client that listens, as they are on the wire.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::stream::output::Output;

/// One message to the client. Times are seconds of the audio that it is sent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum SpeechMsg {
    /// The model is ready for this stream.
    Ready,
    /// A frame, at 24 kHz.
    Audio {
        pcm: Vec<f32>,
    },
    /// Pages of an Ogg/Opus stream.
    OggOpus {
        data: Vec<u8>,
    },
    /// A word, or the tag of a pause. Its audio comes later.
    Text {
        text: String,
        start_s: f64,
        stop_s: f64,
    },
    Error {
        message: String,
    },
    /// Extra: sessions in front of this one.
    Queued {
        position: u32,
    },
    /// Extra: the server stops; the session will be ended in `deadline_s` seconds.
    Draining {
        deadline_s: f64,
    },
    /// Extra: all text before the client's `Flush` has been said.
    Flushed,
    /// Extra: the client's `Cancel` was done; the next audio begins at `at_s`.
    Cancelled {
        at_s: f64,
    },
    /// Extra: all text has been said and nothing more follows.
    EndOfStream,
    /// Extra: the token of a `Renew` was accepted; the session may go on for `valid_s` seconds.
    Renewed {
        valid_s: f64,
    },
    /// Extra: the token of a `Renew` was refused; the session ends when its first one does.
    NotRenewed,
}

impl SpeechMsg {
    /// Returns the message that tells of `output`; none for what a stream that speaks never tells.
    #[must_use]
    pub fn of(output: Output) -> Option<Self> {
        Some(match output {
            Output::Ready => Self::Ready,
            Output::Sound(sound) => Self::Audio {
                pcm: sound.samples().to_vec(),
            },
            Output::Spoken { text, start, stop } => Self::Text {
                text: text.into(),
                start_s: start,
                stop_s: stop,
            },
            Output::Flushed => Self::Flushed,
            Output::Cancelled { at } => Self::Cancelled { at_s: at },
            Output::End => Self::EndOfStream,
            Output::Queued { position } => Self::Queued { position },
            Output::Draining { left } => Self::Draining {
                deadline_s: left.as_secs_f64(),
            },
            Output::Renewed { valid } => Self::Renewed {
                valid_s: valid.as_secs_f64(),
            },
            Output::NotRenewed => Self::NotRenewed,
            Output::Step { .. } | Output::Word { .. } | Output::WordEnd { .. } | Output::Mark { .. } => {
                return None;
            }
        })
    }

    /// True for messages that Kyutai's clients do not know and would fail on.
    #[must_use]
    pub fn is_extra(&self) -> bool {
        match self {
            Self::Ready
            | Self::Audio { .. }
            | Self::OggOpus { .. }
            | Self::Text { .. }
            | Self::Error { .. } => false,
            Self::Queued { .. }
            | Self::Draining { .. }
            | Self::Flushed
            | Self::Cancelled { .. }
            | Self::EndOfStream
            | Self::Renewed { .. }
            | Self::NotRenewed => true,
        }
    }

    /// Appends the message to `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        write(self, out);
    }
}

/// Appends the message of a frame to `out`.
pub(super) fn audio(samples: &[f32], out: &mut Vec<u8>) {
    #[derive(Serialize)]
    #[serde(tag = "type")]
    enum Frame<'a> {
        Audio { pcm: Cow<'a, [f32]> },
    }
    let pcm = Cow::Borrowed(samples);
    write(&Frame::Audio { pcm }, out);
}

fn write(message: &impl Serialize, out: &mut Vec<u8>) {
    let mut writer = rmp_serde::Serializer::new(out).with_struct_map();
    let written = message.serialize(&mut writer);
    // invariant: writing plain data into memory cannot fail.
    debug_assert!(written.is_ok());
}
