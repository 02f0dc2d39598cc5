//! Client audio in any encoding to mono 24 kHz samples, and what it costs without decoding it.

use std::time::Duration;

use super::ogg_opus::{OggMeter, OggOpus, OggOpusError};
use super::pcm;
use super::resample::Resampler;
use crate::stream::frame::SAMPLE_RATE;
use crate::stream::input::{Encoding, PcmRate};

/// Audio that cannot be decoded: the client's fault, and the end of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("pcm bytes are no whole number of 32-bit floats")]
    TornFloat,
    #[error(transparent)]
    OggOpus(#[from] OggOpusError),
}

/// Decodes the audio of one stream. Encodings may alternate; the state of each is made when it first occurs.
///
/// ```
/// use moshi_server::audio::decode::Decoder;
/// use moshi_server::stream::input::{Encoding, PcmRate};
///
/// let mut decoder = Decoder::default();
/// let mut samples = Vec::new();
/// let pcm16 = Encoding::Pcm16(PcmRate::default());
/// decoder.push(pcm16, &[0x00, 0x40, 0x00], &mut |pcm| samples.extend_from_slice(pcm))?;
/// decoder.push(pcm16, &[0xc0], &mut |pcm| samples.extend_from_slice(pcm))?;
/// assert_eq!(samples, [0.5, -0.5]);
/// # Ok::<(), moshi_server::audio::decode::DecodeError>(())
/// ```
#[derive(Default)]
pub struct Decoder {
    pcm16: Option<Pcm16>,
    ogg: Option<OggOpus>,
    samples: Vec<f32>,
}

struct Pcm16 {
    rate: PcmRate,
    /// The first byte of a sample whose second has not come yet.
    half: Option<u8>,
    resampler: Resampler,
}

impl Pcm16 {
    fn new(rate: PcmRate) -> Self {
        let resampler = Resampler::new(rate.hz());
        Self {
            rate,
            half: None,
            // invariant: the resampler takes every rate of `PcmRate` (tested).
            resampler: resampler.unwrap_or_else(|| unreachable!()),
        }
    }
}

impl Decoder {
    /// Decodes `bytes`; `emit` gets mono samples at 24 kHz in [-1, 1], in order, in pieces of any length.
    ///
    /// # Errors
    /// The bytes are not what they are said to be. Nothing further can be decoded then.
    pub fn push(
        &mut self,
        encoding: Encoding,
        bytes: &[u8],
        emit: &mut impl FnMut(&[f32]),
    ) -> Result<(), DecodeError> {
        self.samples.clear();
        match encoding {
            Encoding::F32 => {
                if !pcm::append_f32(bytes, &mut self.samples) {
                    return Err(DecodeError::TornFloat);
                }
                pcm::tame(&mut self.samples);
                emit(&self.samples);
            }
            Encoding::Pcm16(rate) => {
                if self.pcm16.as_ref().is_some_and(|pcm16| pcm16.rate != rate) {
                    self.finish(emit);
                    self.pcm16 = None;
                }
                let pcm16 = self.pcm16.get_or_insert_with(|| Pcm16::new(rate));
                pcm::append_i16(bytes, &mut pcm16.half, &mut self.samples);
                pcm16.resampler.push(&self.samples, emit);
            }
            Encoding::OggOpus => self.ogg.get_or_insert_default().push(bytes, emit)?,
        }
        Ok(())
    }

    /// Emits what rate conversion has held back (about 30 ms of audio): at a flush or the end of the stream.
    pub fn finish(&mut self, emit: &mut impl FnMut(&[f32])) {
        if let Some(pcm16) = &mut self.pcm16 {
            pcm16.resampler.finish(emit);
        }
    }
}

/// Tells how much audio bytes hold without decoding them: what a session pays for them in credits.
#[derive(Default)]
pub struct Meter {
    ogg: Option<OggMeter>,
}

impl Meter {
    /// Returns the length of the audio in `bytes`. Over a stream it is that of the decoded audio, give or take one
    /// sample per message, plus what Ogg streams tell the decoder to drop.
    ///
    /// # Errors
    /// As [`Decoder::push`], as far as it shows without decoding.
    pub fn cost(&mut self, encoding: Encoding, bytes: &[u8]) -> Result<Duration, DecodeError> {
        let (samples, rate) = match encoding {
            Encoding::F32 if !bytes.len().is_multiple_of(4) => return Err(DecodeError::TornFloat),
            Encoding::F32 => (bytes.len() as u64 / 4, SAMPLE_RATE),
            Encoding::Pcm16(rate) => (bytes.len().div_ceil(2) as u64, rate.hz()),
            Encoding::OggOpus => (self.ogg.get_or_insert_default().push(bytes)?, SAMPLE_RATE),
        };
        Ok(Duration::from_nanos(samples * 1_000_000_000 / u64::from(rate)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(decoder: &mut Decoder, encoding: Encoding, chunks: &[&[u8]]) -> Vec<f32> {
        let mut out = Vec::new();
        for chunk in chunks {
            decoder
                .push(encoding, chunk, &mut |samples| out.extend_from_slice(samples))
                .unwrap();
        }
        decoder.finish(&mut |samples| out.extend_from_slice(samples));
        out
    }

    #[test]
    fn every_rate_gives_one_second_for_one_second() {
        for rate in PcmRate::ALL {
            let (pcm16, bytes) = (Encoding::Pcm16(rate), vec![0; 2 * rate.hz() as usize]);
            let chunks: Vec<&[u8]> = bytes.chunks(333).collect();
            assert_eq!(decoded(&mut Decoder::default(), pcm16, &chunks).len(), 24_000);
            assert_eq!(Meter::default().cost(pcm16, &bytes), Ok(Duration::from_secs(1)));
        }
        assert_eq!(PcmRate::new(44_056), None);
    }

    #[test]
    fn a_rate_that_changes_loses_no_audio() {
        let mut decoder = Decoder::default();
        let (low, high) = (PcmRate::ALL[0], PcmRate::ALL[7]);
        let mut samples = 0;
        for rate in [low, high] {
            let second = vec![0; 2 * rate.hz() as usize];
            let pushed = decoder.push(Encoding::Pcm16(rate), &second, &mut |pcm| samples += pcm.len());
            assert_eq!(pushed, Ok(()));
        }
        decoder.finish(&mut |pcm| samples += pcm.len());
        assert_eq!(samples, 48_000);
    }

    #[test]
    fn wild_floats_are_tamed_and_torn_ones_refused() {
        let samples = [0.25, -0.5, f32::NAN];
        let bytes: Vec<u8> = samples.iter().flat_map(|s| s.to_le_bytes()).collect();
        let mut decoder = Decoder::default();
        assert_eq!(
            decoded(&mut decoder, Encoding::F32, &[&bytes, &bytes]),
            [0.25, -0.5, 0.0, 0.25, -0.5, 0.0]
        );
        assert_eq!(
            decoder.push(Encoding::F32, &bytes[1..], &mut |_| ()),
            Err(DecodeError::TornFloat)
        );
        assert!(matches!(
            decoder.push(Encoding::OggOpus, b"nope", &mut |_| ()),
            Err(DecodeError::OggOpus(_))
        ));
        assert_eq!(
            Meter::default().cost(Encoding::F32, &bytes[1..]),
            Err(DecodeError::TornFloat)
        );
    }
}
