//! Frames of 24 kHz mono to what a listener is sent.

use super::ogg_writer::{OggOpusWriter, OpusHead};
use super::opus::{Application, OpusEncoder};
use super::pcm::to_i16_bytes;
use super::resample::Resampler;
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use crate::stream::input::PcmRate;

/// Samples of an Opus packet: 40 ms.
const PACKET: usize = FRAME_SAMPLES / 2;

/// An encoder that libopus cannot make: the machine is out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for an Opus encoder")]
pub struct NoEncoder;

/// Encodes a stream as Ogg/Opus, page for page as Kyutai's server does: packets of 40 ms tuned for voice, one per page.
pub struct OpusStream {
    encoder: OpusEncoder,
    writer: OggOpusWriter,
}

impl OpusStream {
    /// A stream at its start.
    ///
    /// # Errors
    /// The machine is out of memory.
    pub fn new() -> Result<Self, NoEncoder> {
        Ok(Self {
            encoder: OpusEncoder::new(1, Application::Voice).ok_or(NoEncoder)?,
            writer: OggOpusWriter::new(KYUTAI_SERIAL),
        })
    }

    /// Returns the two header pages.
    pub fn headers(&mut self) -> Vec<u8> {
        self.writer.headers(&OpusHead::KYUTAI)
    }

    /// Appends the pages of `samples`, a whole number of packets.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<u8>) {
        for packet in samples.chunks_exact(PACKET) {
            // invariant: a packet of 40 ms is one that Opus encodes.
            if let Some(packet) = self.encoder.encode(packet) {
                out.extend(self.writer.packets([packet.as_slice()]));
            }
        }
    }
}

/// Number of the streams of Kyutai's server.
const KYUTAI_SERIAL: u32 = 42;

/// Encodes a stream as raw 16-bit little-endian PCM.
pub struct PcmStream {
    resampler: Resampler,
}

impl PcmStream {
    /// A stream at `rate`.
    #[must_use]
    pub fn new(rate: PcmRate) -> Self {
        // Every rate there is can be converted.
        let resampler = Resampler::between(SAMPLE_RATE, rate.hz()).unwrap_or_else(Resampler::identity);
        Self { resampler }
    }

    /// Appends what `samples` give.
    pub fn push(&mut self, samples: &[f32], out: &mut Vec<u8>) {
        self.resampler
            .push(samples, &mut |ready| out.extend(to_i16_bytes(ready)));
    }

    /// Appends what was held back, at the end.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.resampler
            .finish(&mut |ready| out.extend(to_i16_bytes(ready)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audio::ogg_opus::OggOpus;
    use crate::audio::opus::testing::tone;

    #[test]
    fn the_first_pages_are_those_of_kyutais_server() {
        let headers = OpusStream::new().unwrap().headers();
        // RFC 3533: a page's header has 27 bytes and one per segment.
        assert_eq!(&headers[14..18], &42u32.to_le_bytes());
        let head = &headers[28..][..19];
        assert_eq!(head, b"OpusHead\x01\x01\x00\x0f\x80\xbb\0\0\0\0\0");
        assert_eq!(&headers[28 + 19 + 28..], b"OpusTags\x0b\0\0\0KyutaiMoshi\0\0\0\0");
    }

    #[test]
    fn each_frame_is_two_pages_and_is_heard() {
        let mut stream = OpusStream::new().unwrap();
        let mut bytes = stream.headers();
        for frame in tone(4 * FRAME_SAMPLES, 1).chunks(FRAME_SAMPLES) {
            let before = bytes.len();
            stream.push(frame, &mut bytes);
            let pages = bytes[before..].windows(5).filter(|w| *w == b"OggS\0").count();
            assert_eq!(pages, 2);
        }
        let mut heard = Vec::new();
        OggOpus::default()
            .push(&bytes, &mut |samples| heard.extend_from_slice(samples))
            .unwrap();
        // The header says that 80 ms are to be skipped.
        assert_eq!(heard.len(), 3 * FRAME_SAMPLES);
    }

    #[test]
    fn pcm_has_the_rate_that_was_asked_for() {
        for hz in [8_000, 24_000, 44_100, 48_000] {
            let mut stream = PcmStream::new(PcmRate::new(hz).unwrap());
            let mut bytes = Vec::new();
            stream.push(&tone(24_000, 1), &mut bytes);
            stream.finish(&mut bytes);
            assert_eq!(bytes.len(), 2 * hz as usize, "a second at {hz}");
            let power = bytes
                .as_chunks::<2>()
                .0
                .iter()
                .map(|s| f32::from(i16::from_le_bytes(*s)) / 32_768.0)
                .map(|s| s * s)
                .sum::<f32>()
                / hz as f32;
            assert!((power - 0.045).abs() < 0.003, "{power} at {hz}");
        }
    }
}
