//! Why a file cannot be read, in words for whoever sent it.

use std::borrow::Cow;
use std::io;

use symphonia::core::errors::Error as SymphoniaError;

use crate::audio::ogg_opus::OggOpusError;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("the file is empty")]
    Empty,
    #[error("not an audio file of a known kind (wav, flac, mp3, ogg, opus, m4a, aac, aiff, caf, mkv, webm)")]
    Unknown,
    #[error("this is {0}, which is not supported: convert it to wav, flac, mp3 or opus")]
    Kind(&'static str),
    #[error(
        "this is a later part of a recording, which cannot be decoded without the beginning: join all parts in their order"
    )]
    LaterPart,
    #[error("the file holds no audio")]
    NoAudio,
    #[error("the file's audio codec is not supported: convert it to wav, flac, mp3 or opus")]
    Codec,
    #[error("this {container} holds {codec}, which is not supported: convert it to wav, flac, mp3 or opus")]
    CodecIn {
        container: &'static str,
        codec: Cow<'static, str>,
    },
    #[error("a sample rate of {0} Hz is not supported: convert it to one from 4000 to 192000 Hz")]
    Rate(u32),
    #[error("the file is damaged: {0}")]
    Damaged(String),
    #[error("the file could not be read: {0}")]
    Read(#[source] io::Error),
}

impl From<OggOpusError> for FileError {
    fn from(error: OggOpusError) -> Self {
        match error {
            OggOpusError::Family(family) => Self::CodecIn {
                container: "file",
                codec: Cow::Owned(format!("Opus with channel mapping family {family}")),
            },
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<SymphoniaError> for FileError {
    fn from(error: SymphoniaError) -> Self {
        match error {
            SymphoniaError::IoError(error) => Self::Read(error),
            SymphoniaError::Unsupported(_) => Self::Codec,
            other => Self::Damaged(other.to_string()),
        }
    }
}
