//! Audio files of any common kind to samples, read front to back in bounded memory.
//!
//! wav, flac, mp3, ogg (vorbis, opus), m4a/mp4 (aac), aac, mkv/webm; any rate, channels mixed to one. The bytes come from
//! any blocking reader. What a crafted file costs has no bound here: those of strangers are decoded in a process of their own
//! (`decoder/`).

use std::fs::File;
use std::io::{self, Cursor, Read, Seek as _};
use std::ops::Range;
use std::time::Duration;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use crate::audio::ogg_opus::{Head, OggOpus, OggOpusError};
use crate::audio::opus::{BadPacket, MAX_SAMPLES, OpusDecoder};
use crate::audio::resample::Resampler;
use crate::audio::{RATE, ogg, pcm};

/// Bytes that tell the kinds apart.
const SNIFF: usize = 64;

/// Undecodable packets in a row after which a file is given up.
const MAX_BAD_PACKETS: u32 = 50;

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    #[error("not an audio file of a known kind (wav, flac, mp3, ogg, opus, m4a, aac, mkv, webm)")]
    Unknown,
    #[error("the file holds no audio")]
    NoAudio,
    #[error("the file's audio codec is not supported")]
    Codec,
    #[error("a sample rate of {0} Hz is not supported")]
    Rate(u32),
    #[error("the file is damaged: {0}")]
    Damaged(String),
    #[error("the file could not be read: {0}")]
    Read(#[source] io::Error),
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

/// Where a file comes from.
pub trait Input: Read + Send + Sync {
    /// All of the input, what was read before included, as a file at its start; none where it is not in a file.
    ///
    /// # Errors
    /// The file cannot be read.
    fn whole(&mut self) -> io::Result<Option<File>> {
        Ok(None)
    }
}

impl Input for io::Stdin {}

impl<T: AsRef<[u8]> + Send + Sync> Input for Cursor<T> {}

impl Input for File {
    fn whole(&mut self) -> io::Result<Option<File>> {
        // A named pipe is a file too, but not one to read twice.
        if !self.metadata()?.is_file() {
            return Ok(None);
        }
        let mut file = self.try_clone()?;
        file.rewind()?;
        Ok(Some(file))
    }
}

/// Decodes one file, a piece at a time.
pub struct FileDecoder {
    source: Source,
    resampler: Resampler,
    rate: u32,
    length: Option<Duration>,
    pcm: Vec<f32>,
    heard: bool,
    done: bool,
}

enum Source {
    /// Ogg/Opus takes the way live streams take.
    Ogg {
        reader: Box<dyn Read + Send + Sync>,
        decoder: Box<OggOpus>,
        bytes: Vec<u8>,
        /// What of them was read and not decoded.
        left: Range<usize>,
    },
    Packets {
        format: Box<dyn FormatReader>,
        track: u32,
        codec: Codec,
        bad: u32,
    },
}

enum Codec {
    Symphonia(Box<dyn AudioDecoder>),
    Opus {
        decoder: OpusDecoder,
        head: Head,
        skip: usize,
        pcm: Box<[f32; MAX_SAMPLES]>,
    },
}

impl FileDecoder {
    /// Reads enough of `reader` to know what it holds. An mp4 that is not in a file is copied to a temporary one first, because
    /// what it needs to start may stand at its end.
    ///
    /// # Errors
    /// It is no audio file, or none that can be decoded.
    pub fn open(reader: impl Input + 'static) -> Result<Self, FileError> {
        let mut reader = reader;
        let mut start = Vec::with_capacity(SNIFF);
        reader
            .by_ref()
            .take(SNIFF as u64)
            .read_to_end(&mut start)
            .map_err(FileError::Read)?;
        let is_ogg_opus = start.starts_with(b"OggS") && start.get(28..36) == Some(b"OpusHead");
        let is_mp4 = start.get(4..8) == Some(b"ftyp");
        if is_mp4 && let Some(file) = reader.whole().map_err(FileError::Read)? {
            return Self::probe(Box::new(file));
        }
        let mut reader = Cursor::new(start).chain(reader);
        if is_ogg_opus {
            let source = Source::Ogg {
                reader: Box::new(reader),
                decoder: Box::default(),
                bytes: vec![0; 16 << 10],
                left: 0..0,
            };
            return Self::new(source, RATE, None);
        }
        if is_mp4 {
            let mut spool = tempfile::tempfile().map_err(FileError::Read)?;
            io::copy(&mut reader, &mut spool)
                .and_then(|_| spool.rewind())
                .map_err(FileError::Read)?;
            return Self::probe(Box::new(spool));
        }
        Self::probe(Box::new(ReadOnlySource::new(reader)))
    }

    fn probe(source: Box<dyn MediaSource>) -> Result<Self, FileError> {
        let stream = MediaSourceStream::new(source, Default::default());
        let (format, metadata) = (FormatOptions::default(), MetadataOptions::default());
        let probe = symphonia::default::get_probe();
        let format = probe
            .probe(&Hint::new(), stream, format, metadata)
            .map_err(|error| match error {
                SymphoniaError::IoError(error) if error.kind() != io::ErrorKind::UnexpectedEof => {
                    FileError::Read(error)
                }
                _ => FileError::Unknown,
            })?;
        let track = format
            .first_track_known_codec(TrackType::Audio)
            .ok_or(FileError::NoAudio)?;
        let Some(CodecParameters::Audio(params)) = &track.codec_params else {
            return Err(FileError::Codec);
        };
        let opus = params.codec == CODEC_ID_OPUS;
        let rate = if opus {
            RATE
        } else {
            params.sample_rate.unwrap_or(RATE)
        };
        let length = track
            .num_frames
            .zip(params.sample_rate)
            .filter(|(_, rate)| *rate > 0);
        let length = length.map(|(frames, rate)| Duration::from_secs_f64(frames as f64 / f64::from(rate)));
        let codec = Codec::new(params)?;
        let source = Source::Packets {
            track: track.id,
            codec,
            bad: 0,
            format,
        };
        Self::new(source, rate, length)
    }

    fn new(source: Source, rate: u32, length: Option<Duration>) -> Result<Self, FileError> {
        let resampler = Resampler::new(rate).ok_or(FileError::Rate(rate))?;
        Ok(Self {
            source,
            resampler,
            rate,
            length,
            pcm: Vec::new(),
            heard: false,
            done: false,
        })
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

/// What one step of a source gave.
enum Piece {
    Audio { rate: u32 },
    Nothing,
    End,
}

impl Source {
    fn next(&mut self, out: &mut Vec<f32>) -> Result<Piece, FileError> {
        match self {
            Self::Ogg {
                reader,
                decoder,
                bytes,
                left,
            } => {
                if left.start == left.end {
                    *left = 0..reader.read(bytes).map_err(FileError::Read)?;
                }
                if left.start == left.end {
                    return Ok(Piece::End);
                }
                let size = ogg::piece(&bytes[left.clone()]);
                let piece = left.start..left.start + size;
                left.start += size;
                decoder
                    .push(&bytes[piece], &mut |samples| out.extend_from_slice(samples))
                    .map_err(|error| FileError::Damaged(error.to_string()))?;
                Ok(Piece::Audio { rate: RATE })
            }
            Self::Packets {
                format,
                track,
                codec,
                bad,
            } => {
                let packet = match format.next_packet() {
                    Ok(Some(packet)) => packet,
                    Ok(None) => return Ok(Piece::End),
                    Err(SymphoniaError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                        return Ok(Piece::End);
                    }
                    Err(error) => return Err(error.into()),
                };
                if packet.track_id != *track {
                    return Ok(Piece::Nothing);
                }
                match codec.decode(&packet, out) {
                    Ok(rate) => {
                        *bad = 0;
                        Ok(Piece::Audio { rate })
                    }
                    Err(FileError::Damaged(_)) if *bad < MAX_BAD_PACKETS => {
                        *bad += 1;
                        Ok(Piece::Nothing)
                    }
                    Err(error) => Err(error),
                }
            }
        }
    }
}

impl Codec {
    fn new(params: &AudioCodecParameters) -> Result<Self, FileError> {
        if params.codec == CODEC_ID_OPUS {
            let damaged = |error: OggOpusError| FileError::Damaged(error.to_string());
            let head = Head::parse(params.extra_data.as_deref().unwrap_or_default()).map_err(damaged)?;
            let decoder = OpusDecoder::new().ok_or(OggOpusError::Memory).map_err(damaged)?;
            return Ok(Self::Opus {
                decoder,
                head,
                skip: head.skip,
                pcm: Box::new([0.0; MAX_SAMPLES]),
            });
        }
        let codecs = symphonia::default::get_codecs();
        let decoder = codecs.make_audio_decoder(params, &AudioDecoderOptions::default());
        Ok(Self::Symphonia(decoder.map_err(|_| FileError::Codec)?))
    }

    /// Appends the packet's samples, mixed to one channel. Returns their rate.
    fn decode(&mut self, packet: &Packet, out: &mut Vec<f32>) -> Result<u32, FileError> {
        match self {
            Self::Symphonia(decoder) => {
                let decoded = decoder.decode(packet).map_err(|error| match error {
                    // A packet that ends too early is a damaged packet, not a failed read.
                    SymphoniaError::IoError(error) => FileError::Damaged(error.to_string()),
                    other => other.into(),
                })?;
                let spec = decoded.spec();
                let (rate, channels) = (spec.rate(), spec.channels().count());
                decoded.copy_to_vec_interleaved(out);
                pcm::downmix(out, channels);
                Ok(rate)
            }
            Self::Opus {
                decoder,
                head,
                skip,
                pcm,
            } => {
                let samples = decoder
                    .decode(&packet.data, pcm)
                    .map_err(|error: BadPacket| FileError::Damaged(error.to_string()))?;
                let from = (*skip).min(samples);
                *skip -= from;
                out.extend(pcm[from..samples].iter().map(|sample| sample * head.gain));
                Ok(RATE)
            }
        }
    }
}

#[cfg(test)]
mod tests;
