//! Audio files of any common kind to samples, read front to back in bounded memory.
//!
//! wav, flac, mp3, ogg (vorbis, opus, flac), m4a/mp4 (aac, alac, opus), aac, aiff, caf, mkv/webm; any rate, channels mixed to
//! one. The bytes come from any blocking reader. What a crafted file costs has no bound here: those of strangers are decoded in
//! a process of their own (`decoder/`).

mod error;
mod id3;
mod input;
mod kind;
mod mp4;
mod ogg;
mod packets;
mod source;
mod start;
mod wav;

use std::io::Read;
use std::time::Duration;

use symphonia::core::io::ReadOnlySource;

pub use self::error::FileError;
pub use self::input::Input;

use self::input::Ahead;
use self::kind::{Kind, SNIFF};
use self::mp4::Movie;
use self::ogg::Chain;
use self::packets::Packets;
use self::source::{Piece, Source};
use self::wav::Opened;
use crate::audio::pcm;
use crate::audio::resample::Resampler;
use crate::stream::frame::SAMPLE_RATE;

/// Decodes one file, a piece at a time.
pub struct FileDecoder {
    source: Box<dyn Source>,
    resampler: Resampler,
    rate: u32,
    heard: bool,
    done: bool,
    pcm: Vec<f32>,
    length: Option<Duration>,
}

impl FileDecoder {
    /// Reads enough of `reader` to know what it holds. An mp4 or caf that is not in a file is copied to a temporary one first,
    /// because what it needs to start may stand at its end.
    ///
    /// # Errors
    /// It is no audio file, or none that can be decoded.
    pub fn open(reader: impl Input + 'static) -> Result<Self, FileError> {
        let mut input = Ahead::new(Box::new(reader));
        if input.peek(1).map_err(FileError::Read)?.is_empty() {
            return Err(FileError::Empty);
        }
        id3::skip(&mut input).map_err(FileError::Read)?;
        let source: Box<dyn Source> = match Kind::of(input.peek(SNIFF).map_err(FileError::Read)?) {
            // There was a tag.
            Kind::Empty => return Err(FileError::NoAudio),
            Kind::Foreign(name) => return Err(FileError::Kind(name)),
            Kind::LaterPart => return Err(FileError::LaterPart),
            Kind::Ogg => Box::new(Chain::open(input)?),
            Kind::Mp4 => {
                let mut file = input.into_file().map_err(FileError::Read)?;
                let movie = Movie::read(&mut file).map_err(FileError::Read)?;
                Box::new(Packets::probe(Box::new(file), Some(&movie))?)
            }
            Kind::Caf => {
                let file = input.into_file().map_err(FileError::Read)?;
                Box::new(Packets::probe(Box::new(file), None)?)
            }
            Kind::Wav => match wav::open(input)? {
                Opened::Wav(wav) => {
                    let packets = stream(wav.bytes)?;
                    return Ok(Self::new(Box::new(packets), wav.length));
                }
                Opened::Mp3(samples) => Box::new(stream(samples)?),
            },
            Kind::Other => Box::new(stream(input)?),
        };
        let length = source.length();
        Ok(Self::new(source, length))
    }

    fn new(source: Box<dyn Source>, length: Option<Duration>) -> Self {
        Self {
            source,
            // Made anew when the first samples have another rate.
            resampler: Resampler::identity(),
            rate: SAMPLE_RATE,
            heard: false,
            done: false,
            pcm: Vec::new(),
            length,
        }
    }

    /// How long the file says it is; not every kind says.
    #[must_use]
    pub fn length(&self) -> Option<Duration> {
        self.length
    }

    /// Decodes a packet or an Ogg page (half a minute of audio in the worst) and hands its mono samples at 24 kHz, if any, to `emit`.
    /// Returns false at the end of the file. A damaged packet is left out; a file cut short (but for mp4) ends where it was cut.
    ///
    /// # Errors
    /// Reading failed, the file is damaged beyond a packet here and there, or it ended without any audio.
    pub fn next(&mut self, emit: &mut impl FnMut(&[f32])) -> Result<bool, FileError> {
        if self.done {
            return Ok(false);
        }
        self.pcm.clear();
        let rate = match self.source.next(&mut self.pcm)? {
            Piece::Audio { rate } => rate,
            Piece::Nothing => return Ok(true),
            Piece::End => {
                self.done = true;
                self.resampler.finish(emit);
                return if self.heard {
                    Ok(false)
                } else {
                    Err(FileError::NoAudio)
                };
            }
        };
        if rate != self.rate {
            self.resampler.finish(emit);
            self.resampler = Resampler::new(rate).ok_or(FileError::Rate(rate))?;
            self.rate = rate;
        }
        self.heard |= !self.pcm.is_empty();
        pcm::tame(&mut self.pcm);
        self.resampler.push(&self.pcm, emit);
        Ok(true)
    }
}

fn stream(reader: impl Read + Send + Sync + 'static) -> Result<Packets, FileError> {
    Packets::probe(Box::new(ReadOnlySource::new(reader)), None)
}

#[cfg(test)]
mod tests;
