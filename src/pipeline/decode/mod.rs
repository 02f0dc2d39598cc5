//! Client audio in any form to mono 24 kHz samples. Knows bytes; knows no sockets, rows or threads.

pub mod stage;

use std::time::Duration;

use crate::audio::ogg_opus::{OggMeter, OggOpus, OggOpusError};
use crate::audio::pcm;
use crate::audio::resample::Resampler;
use crate::stream::frame::SAMPLE_RATE;

/// One message's audio, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Chunk<'a> {
    /// Samples at 24 kHz.
    F32(&'a [f32]),
    /// Little-endian samples at 24 kHz.
    F32Bytes(&'a [u8]),
    /// Little-endian 16-bit samples at the rate of the session.
    Pcm16(&'a [u8]),
    /// Bytes of an Ogg/Opus stream, cut anywhere.
    Ogg(&'a [u8]),
}

/// Rate of raw PCM16 input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pcm16Rate {
    Hz8000,
    Hz16000,
    #[default]
    Hz24000,
    Hz48000,
}

impl Pcm16Rate {
    /// The rate of `hz`, when it is one that is supported.
    #[must_use]
    pub const fn new(hz: u32) -> Option<Self> {
        match hz {
            8_000 => Some(Self::Hz8000),
            16_000 => Some(Self::Hz16000),
            24_000 => Some(Self::Hz24000),
            48_000 => Some(Self::Hz48000),
            _ => None,
        }
    }

    #[must_use]
    pub const fn hz(self) -> u32 {
        match self {
            Self::Hz8000 => 8_000,
            Self::Hz16000 => 16_000,
            Self::Hz24000 => 24_000,
            Self::Hz48000 => 48_000,
        }
    }
}

/// Audio that cannot be decoded: the client's fault, and the end of its session (close code 1007).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("pcm bytes are no whole number of 32-bit floats")]
    TornFloat,
    #[error(transparent)]
    OggOpus(#[from] OggOpusError),
}

/// Decodes the audio of one session. Messages of different forms may alternate.
#[derive(Default)]
pub struct Decoder {
    pcm16: Option<Pcm16>,
    rate: Pcm16Rate,
    ogg: Option<OggOpus>,
    samples: Vec<f32>,
}

struct Pcm16 {
    half: Option<u8>,
    resampler: Resampler,
}

impl Decoder {
    /// A decoder for a session whose raw PCM16 input, if it sends any, has `rate`.
    #[must_use]
    pub fn new(rate: Pcm16Rate) -> Self {
        Self {
            rate,
            ..Self::default()
        }
    }

    /// Decodes `chunk`; `emit` gets mono samples at 24 kHz in [-1, 1], in order, in pieces of any length.
    ///
    /// # Errors
    /// The bytes are not what they are said to be. Nothing further can be decoded then.
    pub fn push(&mut self, chunk: Chunk<'_>, emit: &mut impl FnMut(&[f32])) -> Result<(), DecodeError> {
        self.samples.clear();
        match chunk {
            Chunk::F32(samples) => {
                self.samples.extend_from_slice(samples);
                pcm::tame(&mut self.samples);
                emit(&self.samples);
            }
            Chunk::F32Bytes(bytes) => {
                if !pcm::append_f32(bytes, &mut self.samples) {
                    return Err(DecodeError::TornFloat);
                }
                pcm::tame(&mut self.samples);
                emit(&self.samples);
            }
            Chunk::Pcm16(bytes) => {
                let pcm16 = self.pcm16.get_or_insert_with(|| Pcm16::new(self.rate));
                pcm::append_i16(bytes, &mut pcm16.half, &mut self.samples);
                pcm16.resampler.push(&self.samples, emit);
            }
            Chunk::Ogg(bytes) => self.ogg.get_or_insert_default().push(bytes, emit)?,
        }
        Ok(())
    }

    /// Gives what rate conversion has held back (about 30 ms of audio): at a flush or the end of the stream.
    pub fn finish(&mut self, emit: &mut impl FnMut(&[f32])) {
        if let Some(pcm16) = &mut self.pcm16 {
            pcm16.resampler.finish(emit);
        }
    }
}

impl Pcm16 {
    fn new(rate: Pcm16Rate) -> Self {
        let resampler = Resampler::new(rate.hz());
        // invariant: every rate of `Pcm16Rate` is one the resampler takes (tested).
        Self {
            half: None,
            resampler: resampler.unwrap_or_else(|| unreachable!()),
        }
    }
}

/// Tells how much audio a chunk holds without decoding it: what a session pays for it in credits.
#[derive(Default)]
pub struct Meter {
    rate: Pcm16Rate,
    ogg: Option<OggMeter>,
}

impl Meter {
    /// A meter for a session whose raw PCM16 input, if it sends any, has `rate`.
    #[must_use]
    pub fn new(rate: Pcm16Rate) -> Self {
        Self { rate, ogg: None }
    }

    /// Length of the audio in `chunk`. Over a session it is that of the decoded audio, give or take one sample a
    /// message, plus what Ogg streams tell the decoder to drop.
    ///
    /// # Errors
    /// As [`Decoder::push`], as far as it shows without decoding.
    pub fn cost(&mut self, chunk: Chunk<'_>) -> Result<Duration, DecodeError> {
        let (samples, rate) = match chunk {
            Chunk::F32(samples) => (samples.len() as u64, SAMPLE_RATE),
            Chunk::F32Bytes(bytes) if bytes.len() % 4 != 0 => return Err(DecodeError::TornFloat),
            Chunk::F32Bytes(bytes) => (bytes.len() as u64 / 4, SAMPLE_RATE),
            Chunk::Pcm16(bytes) => (bytes.len().div_ceil(2) as u64, self.rate.hz()),
            Chunk::Ogg(bytes) => (self.ogg.get_or_insert_default().push(bytes)?, SAMPLE_RATE),
        };
        Ok(Duration::from_nanos(samples * 1_000_000_000 / u64::from(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(decoder: &mut Decoder, chunks: &[Chunk<'_>]) -> Vec<f32> {
        let mut out = Vec::new();
        for chunk in chunks {
            decoder
                .push(*chunk, &mut |samples| out.extend_from_slice(samples))
                .unwrap();
        }
        decoder.finish(&mut |samples| out.extend_from_slice(samples));
        out
    }

    #[test]
    fn every_rate_gives_one_second_for_one_second() {
        for hz in [8_000, 16_000, 24_000, 48_000] {
            let rate = Pcm16Rate::new(hz).unwrap();
            assert_eq!(rate.hz(), hz);
            let bytes = vec![0; 2 * hz as usize];
            let chunks: Vec<Chunk<'_>> = bytes.chunks(333).map(Chunk::Pcm16).collect();
            assert_eq!(decoded(&mut Decoder::new(rate), &chunks).len(), 24_000);
            assert_eq!(
                Meter::new(rate).cost(Chunk::Pcm16(&bytes)),
                Ok(Duration::from_secs(1))
            );
        }
        assert_eq!(Pcm16Rate::new(44_100), None);
    }

    #[test]
    fn classic_messages_alternate_and_floats_come_either_way() {
        let samples = [0.25, -0.5, f32::NAN];
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let mut decoder = Decoder::default();
        let chunks = [Chunk::F32(&samples), Chunk::F32Bytes(&bytes)];
        assert_eq!(decoded(&mut decoder, &chunks), [0.25, -0.5, 0.0, 0.25, -0.5, 0.0]);
        assert_eq!(
            decoder.push(Chunk::F32Bytes(&bytes[1..]), &mut |_| ()),
            Err(DecodeError::TornFloat)
        );
        assert!(matches!(
            decoder.push(Chunk::Ogg(b"nope"), &mut |_| ()),
            Err(DecodeError::OggOpus(_))
        ));
        assert_eq!(
            Meter::default().cost(Chunk::F32Bytes(&bytes[1..])),
            Err(DecodeError::TornFloat)
        );
    }
}
