//! Files that symphonia takes apart: packets of one track, decoded by it or, for Opus, by libopus.

use std::io;
use std::time::Duration;

use symphonia::core::codecs::CodecParameters;
use symphonia::core::codecs::audio::well_known::CODEC_ID_OPUS;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as SymphoniaError;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream};
use symphonia::core::meta::MetadataOptions;
use symphonia::core::packet::Packet;

use super::mp4::Movie;
use super::{FileError, Piece, Source};
use crate::audio::RATE;
use crate::audio::ogg_opus::{Head, OggOpusError};
use crate::audio::opus::{BadPacket, MAX_SAMPLES, OpusDecoder};
use crate::audio::pcm;

/// Undecodable packets in a row after which a file is given up.
const MAX_BAD_PACKETS: u32 = 50;

/// The packets of a file's first track of audio.
pub(super) struct Packets {
    format: Box<dyn FormatReader>,
    track: u32,
    codec: Codec,
    bad: u32,
    length: Option<Duration>,
    start: Start,
}

/// Where the audio of a track begins on the clock of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Start {
    /// Silence before the audio.
    pub(super) delay: Duration,
    /// Audio to drop at the front: what an encoder put there, or an editor cut off.
    pub(super) skip: Duration,
}

enum Codec {
    Symphonia {
        decoder: Box<dyn AudioDecoder>,
        /// Samples to drop at the front; none until the rate is known.
        skip: Option<u64>,
    },
    Opus {
        decoder: OpusDecoder,
        gain: f32,
        /// Samples to drop at the front.
        skip: usize,
        pcm: Box<[f32; MAX_SAMPLES]>,
    },
}

impl Packets {
    /// Finds out what `source` holds. `movie` is what an mp4 says besides what symphonia takes from it.
    ///
    /// # Errors
    /// It is no audio file, or none that can be decoded.
    pub(super) fn probe(source: Box<dyn MediaSource>, movie: Option<&Movie>) -> Result<Self, FileError> {
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
        let Some(track) = format.first_track_known_codec(TrackType::Audio) else {
            return Err(match format.first_track(TrackType::Audio) {
                Some(track) => unsupported(movie, track),
                None => FileError::NoAudio,
            });
        };
        let Some(CodecParameters::Audio(params)) = &track.codec_params else {
            return Err(unsupported(movie, track));
        };
        let start = movie.map_or(Start::default(), |movie| movie.start(track.id));
        let codec = Codec::new(params, track, movie.is_some(), start).map_err(|error| match error {
            FileError::Codec => unsupported(movie, track),
            error => error,
        })?;
        Ok(Self {
            track: track.id,
            codec,
            bad: 0,
            length: length(track, params).map(|length| length + start.delay),
            start,
            format,
        })
    }
}

/// Names the codec of `track`, where the file does.
fn unsupported(movie: Option<&Movie>, track: &Track) -> FileError {
    movie
        .and_then(|movie| movie.codec(track.id))
        .unwrap_or(FileError::Codec)
}

fn length(track: &Track, params: &AudioCodecParameters) -> Option<Duration> {
    let rate = params.sample_rate.filter(|rate| *rate > 0)?;
    Duration::try_from_secs_f64(track.num_frames? as f64 / f64::from(rate)).ok()
}

impl Source for Packets {
    fn length(&self) -> Option<Duration> {
        self.length
    }

    fn next(&mut self, out: &mut Vec<f32>) -> Result<Piece, FileError> {
        if !self.start.delay.is_zero() {
            let silence = self.start.delay.min(Duration::from_secs(1));
            self.start.delay -= silence;
            out.resize(samples(silence, RATE) as usize, 0.0);
            return Ok(Piece::Audio { rate: RATE });
        }
        let packet = match self.format.next_packet() {
            Ok(Some(packet)) => packet,
            Ok(None) => return Ok(Piece::End),
            Err(SymphoniaError::IoError(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Ok(Piece::End);
            }
            Err(error) => return Err(error.into()),
        };
        if packet.track_id != self.track {
            return Ok(Piece::Nothing);
        }
        match self.codec.decode(&packet, self.start.skip, out) {
            Ok(rate) => {
                self.bad = 0;
                Ok(Piece::Audio { rate })
            }
            Err(FileError::Damaged(_)) if self.bad < MAX_BAD_PACKETS => {
                self.bad += 1;
                Ok(Piece::Nothing)
            }
            Err(error) => Err(error),
        }
    }
}

/// Samples in `time` at `rate` Hz.
fn samples(time: Duration, rate: u32) -> u64 {
    (time.as_secs_f64() * f64::from(rate)).round() as u64
}

impl Codec {
    fn new(params: &AudioCodecParameters, track: &Track, mp4: bool, start: Start) -> Result<Self, FileError> {
        if params.codec == CODEC_ID_OPUS {
            let head = match params.extra_data.as_deref() {
                Some(data) if mp4 => Head::parse_mp4(data)?,
                Some(data) => Head::parse(data)?,
                // Caf has a field of its own for what is to be dropped, in samples at 48 kHz.
                None => Head::plain(track.delay.unwrap_or(0) as usize / 2),
            };
            let decoder = OpusDecoder::new(head.layout).ok_or(OggOpusError::Memory)?;
            return Ok(Self::Opus {
                decoder,
                gain: head.gain,
                // An mp4 says the same twice, or leaves the list of edits out.
                skip: head.skip.max(samples(start.skip, RATE) as usize),
                pcm: Box::new([0.0; MAX_SAMPLES]),
            });
        }
        let codecs = symphonia::default::get_codecs();
        let decoder = codecs.make_audio_decoder(params, &AudioDecoderOptions::default());
        Ok(Self::Symphonia {
            decoder: decoder.map_err(|_| FileError::Codec)?,
            skip: None,
        })
    }

    /// Appends the packet's samples, mixed to one channel, less those of the first `start` of the stream. Returns their rate.
    fn decode(&mut self, packet: &Packet, start: Duration, out: &mut Vec<f32>) -> Result<u32, FileError> {
        match self {
            Self::Symphonia { decoder, skip } => {
                let decoded = decoder.decode(packet).map_err(|error| match error {
                    // A packet that ends too early is a damaged packet, not a failed read.
                    SymphoniaError::IoError(error) => FileError::Damaged(error.to_string()),
                    other => other.into(),
                })?;
                let spec = decoded.spec();
                let (rate, channels) = (spec.rate(), spec.channels().count());
                decoded.copy_to_vec_interleaved(out);
                pcm::downmix(out, channels);
                let skip = skip.get_or_insert_with(|| samples(start, rate));
                let from = out.len().min(usize::try_from(*skip).unwrap_or(usize::MAX));
                *skip -= from as u64;
                out.drain(..from);
                Ok(rate)
            }
            Self::Opus {
                decoder,
                gain,
                skip,
                pcm,
            } => {
                let samples = decoder
                    .decode(&packet.data, pcm)
                    .map_err(|error: BadPacket| FileError::Damaged(error.to_string()))?;
                let from = (*skip).min(samples);
                *skip -= from;
                out.extend(pcm[from..samples].iter().map(|sample| sample * *gain));
                Ok(RATE)
            }
        }
    }
}
