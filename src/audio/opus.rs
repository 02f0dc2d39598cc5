//! A safe Opus decoder and encoder over libopus (its Rust translation). The only file that calls it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::NonNull;

use crate::audio::RATE;

/// The longest packet Opus allows, 120 ms, in samples at 24 kHz.
pub const MAX_SAMPLES: usize = RATE as usize * 120 / 1000;

/// A packet libopus cannot decode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a valid Opus packet")]
pub struct BadPacket;

/// How the streams in a packet become channels: for more than two of them (RFC 7845, section 5.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    channels: u8,
    streams: u8,
    /// So many of the streams are stereo; they come first.
    coupled: u8,
    /// The decoded channel of each channel, or 255 for silence.
    mapping: [u8; 8],
}

impl Layout {
    /// Reads the table of a header with `channels` channels, at most 8. `Some(None)` is one stream of at most two channels, which
    /// needs no layout; none when the table makes no sense.
    #[must_use]
    pub fn parse(channels: u8, table: &[u8]) -> Option<Option<Self>> {
        let (&[streams, coupled], table) = table.split_first_chunk()?;
        let table = table.get(..usize::from(channels))?;
        let decoded = u16::from(streams) + u16::from(coupled);
        let valid = |channel: &u8| *channel == 255 || u16::from(*channel) < decoded;
        if streams == 0 || streams > channels || coupled > streams || !table.iter().all(valid) {
            return None;
        }
        if channels <= 2 && streams == 1 {
            return Some(None);
        }
        let mut mapping = [255; 8];
        mapping.get_mut(..table.len())?.copy_from_slice(table);
        Some(Some(Self {
            channels,
            streams,
            coupled,
            mapping,
        }))
    }
}

/// Decodes the packets of one stream to mono at 24 kHz.
pub struct OpusDecoder {
    state: State,
    /// A packet made the decoder panic; its state means nothing any more.
    broken: bool,
}

enum State {
    /// One stream, whose channels the decoder mixes itself.
    Single(NonNull<unsafe_libopus::OpusDecoder>),
    Several {
        state: NonNull<unsafe_libopus::OpusMSDecoder>,
        /// Interleaved samples of the longest packet.
        pcm: Vec<f32>,
        channels: usize,
    },
}

// SAFETY: the state is a plain block of memory of its own, with no thread-local data and no other owner.
unsafe impl Send for OpusDecoder {}

impl OpusDecoder {
    /// A decoder at the start of a stream; none when memory is out.
    #[must_use]
    pub fn new(layout: Option<Layout>) -> Option<Self> {
        let mut error = 0;
        let state = match layout {
            None => {
                // SAFETY: rate and channel count are ones libopus takes, `error` is valid for a write; null means failure.
                let state = unsafe { unsafe_libopus::opus_decoder_create(RATE as i32, 1, &raw mut error) };
                State::Single(NonNull::new(state)?)
            }
            Some(layout) => {
                // SAFETY: `mapping` has at least `channels` entries, which libopus checks, as it does the numbers; `error` is
                // valid for a write; null means failure.
                let state = unsafe {
                    unsafe_libopus::opus_multistream_decoder_create(
                        RATE as i32,
                        layout.channels.into(),
                        layout.streams.into(),
                        layout.coupled.into(),
                        layout.mapping.as_ptr(),
                        &raw mut error,
                    )
                };
                let channels = usize::from(layout.channels);
                State::Several {
                    state: NonNull::new(state)?,
                    pcm: vec![0.0; channels * MAX_SAMPLES],
                    channels,
                }
            }
        };
        Some(Self { state, broken: false })
    }

    /// Decodes one packet into the front of `out`. Returns the number of samples, 60 to 2,880 (2.5 to 120 ms).
    ///
    /// # Errors
    /// `packet` is empty, malformed or longer than Opus allows. The stream can go on with the next one.
    pub fn decode(&mut self, packet: &[u8], out: &mut [f32; MAX_SAMPLES]) -> Result<usize, BadPacket> {
        // libopus takes an empty packet for a lost one and would invent 120 ms.
        if packet.is_empty() || self.broken {
            return Err(BadPacket);
        }
        let length = i32::try_from(packet.len()).map_err(|_| BadPacket)?;
        let state = &mut self.state;
        // The translation checks its arithmetic in debug builds and asserts what it holds impossible. A packet that
        // trips over such a check ends this stream, not the thread.
        let decoded = catch_unwind(AssertUnwindSafe(|| state.decode(packet, length, out)));
        match decoded {
            Ok(samples) => usize::try_from(samples).map_err(|_| BadPacket),
            Err(_) => {
                self.broken = true;
                Err(BadPacket)
            }
        }
    }
}

impl State {
    /// Returns the number of samples, or an error of libopus, which is below 0.
    fn decode(&mut self, packet: &[u8], length: i32, out: &mut [f32; MAX_SAMPLES]) -> i32 {
        match self {
            // SAFETY: the state came from `opus_decoder_create` and is owned by `self`; `packet` is `length` bytes; `out` has
            // room for the longest packet, and libopus is told so.
            Self::Single(state) => unsafe {
                unsafe_libopus::opus_decode_float(
                    state.as_ptr(),
                    packet.as_ptr(),
                    length,
                    out.as_mut_ptr(),
                    MAX_SAMPLES as i32,
                    0,
                )
            },
            Self::Several { state, pcm, channels } => {
                // SAFETY: as above, with a state of `opus_multistream_decoder_create` and room for that many channels.
                let samples = unsafe {
                    unsafe_libopus::opus_multistream_decode_float(
                        state.as_ptr(),
                        packet.as_ptr(),
                        length,
                        pcm.as_mut_ptr(),
                        MAX_SAMPLES as i32,
                        0,
                    )
                };
                let scale = 1.0 / *channels as f32;
                let frames = pcm
                    .chunks_exact(*channels)
                    .take(usize::try_from(samples).unwrap_or(0));
                for (to, frame) in out.iter_mut().zip(frames) {
                    *to = frame.iter().sum::<f32>() * scale;
                }
                samples
            }
        }
    }
}

impl Drop for OpusDecoder {
    fn drop(&mut self) {
        match &self.state {
            // SAFETY: the state came from `opus_decoder_create` and is freed once, here.
            State::Single(state) => unsafe { unsafe_libopus::opus_decoder_destroy(state.as_ptr()) },
            // SAFETY: the state came from `opus_multistream_decoder_create` and is freed once, here.
            State::Several { state, .. } => unsafe {
                unsafe_libopus::opus_multistream_decoder_destroy(state.as_ptr());
            },
        }
    }
}

/// Samples at 24 kHz that `packet` will decode to, from its first bytes (RFC 6716, 3.1); none when they are invalid.
#[must_use]
pub fn packet_samples(packet: &[u8]) -> Option<usize> {
    let toc = usize::from(*packet.first()?);
    let size = toc >> 3 & 3;
    let frame = if toc & 0x80 != 0 {
        60 << size // CELT: 2.5, 5, 10, 20 ms
    } else if toc & 0x60 == 0x60 {
        240 << (size & 1) // hybrid: 10, 20 ms
    } else {
        [240, 480, 960, 1440][size] // SILK: 10, 20, 40, 60 ms
    };
    let frames = match toc & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(*packet.get(1)? & 0x3f),
    };
    Some(frame * frames).filter(|samples| (1..=MAX_SAMPLES).contains(samples))
}

/// What an encoder is tuned for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Application {
    Voice,
    Audio,
}

/// Encodes one stream at 24 kHz, as clients do.
pub struct OpusEncoder {
    state: NonNull<unsafe_libopus::OpusEncoder>,
    channels: usize,
}

// SAFETY: the state is a plain block of memory of its own, with no thread-local data and no other owner.
unsafe impl Send for OpusEncoder {}

impl OpusEncoder {
    /// Bytes a packet of a single frame can have.
    const LARGEST: usize = 1_276;

    /// An encoder for 1 or 2 channels; none when memory is out or the number is another.
    #[must_use]
    pub fn new(channels: usize, application: Application) -> Option<Self> {
        let application = match application {
            Application::Voice => unsafe_libopus::OPUS_APPLICATION_VOIP,
            Application::Audio => unsafe_libopus::OPUS_APPLICATION_AUDIO,
        };
        let mut error = 0;
        // SAFETY: rate and application are ones libopus takes, it checks the channels itself, `error` is valid for a write.
        let state = unsafe {
            unsafe_libopus::opus_encoder_create(RATE as i32, channels as i32, application, &raw mut error)
        };
        NonNull::new(state).map(|state| Self { state, channels })
    }

    /// Encodes one frame of 2.5, 5, 10, 20, 40 or 60 ms of interleaved samples in [-1, 1]; none when it has another length.
    pub fn encode(&mut self, pcm: &[f32]) -> Option<Vec<u8>> {
        let frame = i32::try_from(pcm.len() / self.channels).ok()?;
        // Frames longer than 20 ms are several in one packet.
        let mut packet = vec![0; 3 * Self::LARGEST + 8];
        // SAFETY: the state is owned by `self`, `pcm` holds `frame` samples per channel, `packet` has the room that is stated.
        let length = unsafe {
            unsafe_libopus::opus_encode_float(
                self.state.as_ptr(),
                pcm.as_ptr(),
                frame,
                packet.as_mut_ptr(),
                packet.len() as i32,
            )
        };
        packet.truncate(usize::try_from(length).ok()?);
        Some(packet)
    }
}

impl Drop for OpusEncoder {
    fn drop(&mut self) {
        // SAFETY: `state` came from `opus_encoder_create` and is freed once, here.
        unsafe { unsafe_libopus::opus_encoder_destroy(self.state.as_ptr()) }
    }
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// Encodes `pcm` (24 kHz, `channels` interleaved) in packets of `frame` samples per channel.
    pub(crate) fn encode(
        pcm: &[f32],
        channels: usize,
        frame: usize,
        application: Application,
    ) -> Vec<Vec<u8>> {
        let mut encoder = OpusEncoder::new(channels, application).expect("an encoder");
        pcm.chunks_exact(frame * channels)
            .map(|chunk| encoder.encode(chunk).expect("encodes"))
            .collect()
    }

    pub(crate) fn tone(samples: usize, channels: usize) -> Vec<f32> {
        let at = |i: usize| (i as f32 * 440.0 * std::f32::consts::TAU / 24_000.0).sin() * 0.3;
        (0..samples)
            .flat_map(|i| std::iter::repeat_n(at(i), channels))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_packet_duration_decodes_to_its_length() {
        for application in [Application::Audio, Application::Voice] {
            for frame in [60, 120, 240, 480, 960, 1440, 1920, 2400, 2880] {
                let packets = testing::encode(&testing::tone(2880 * 5, 1), 1, frame, application);
                let mut decoder = OpusDecoder::new(None).unwrap();
                let mut out = [0.0; MAX_SAMPLES];
                for packet in &packets {
                    assert_eq!(decoder.decode(packet, &mut out), Ok(frame));
                    assert_eq!(packet_samples(packet), Some(frame));
                }
            }
        }
    }

    #[test]
    fn stereo_becomes_mono_with_the_same_sound() {
        let packets = testing::encode(&testing::tone(24_000, 2), 2, 480, Application::Audio);
        let mut decoder = OpusDecoder::new(None).unwrap();
        let (mut out, mut pcm) = ([0.0; MAX_SAMPLES], Vec::new());
        for packet in &packets {
            let samples = decoder.decode(packet, &mut out).unwrap();
            pcm.extend_from_slice(&out[..samples]);
        }
        let power = pcm[4_800..].iter().map(|s| s * s).sum::<f32>() / (pcm.len() - 4_800) as f32;
        assert!(
            (power - 0.045).abs() < 0.01,
            "a 0.3 sine has power 0.045, got {power}"
        );
    }

    #[test]
    fn an_empty_packet_is_bad() {
        let mut decoder = OpusDecoder::new(None).unwrap();
        assert_eq!(decoder.decode(&[], &mut [0.0; MAX_SAMPLES]), Err(BadPacket));
        assert_eq!(packet_samples(&[]), None);
        assert_eq!(packet_samples(&[3, 0]), None);
    }

    proptest::proptest! {
        #[test]
        fn garbage_decodes_to_something_or_an_error(packets: Vec<Vec<u8>>) {
            let mut decoder = OpusDecoder::new(None).unwrap();
            let mut out = [0.0; MAX_SAMPLES];
            for packet in &packets {
                if let Ok(samples) = decoder.decode(packet, &mut out) {
                    proptest::prop_assert_eq!(packet_samples(packet), Some(samples));
                }
            }
        }
    }
}
