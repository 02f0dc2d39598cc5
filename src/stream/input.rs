//! What a client sends into its stream.

use std::sync::Arc;

use bytes::Bytes;

use super::secret::Secret;
use super::voice::Voice;

/// One thing a client says, whatever protocol it says it in.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    Audio(AudioBytes),
    /// Something to say. Its end is the end of a word.
    Text(String),
    /// The voice to say it in.
    Voice(Arc<Voice>),
    Control(Control),
    /// Nothing, but the client is there and will send audio: the session does not count as idle.
    KeepAlive,
    /// A newer credential of the same user, sent before the one that opened the session expires.
    Renew(Secret),
}

/// A request that takes effect at its place in the audio or in the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// Reset the model's state; the clock of the stream goes on.
    Restart,
    /// Tell when all audio up to here has been processed. The client chooses the id and gets it back.
    Mark(i64),
    /// Process all audio up to here now, without waiting for more.
    Flush,
    /// No more input follows: send what is left and close.
    End,
    /// Stop speaking at once, and forget all text so far. It takes effect before what waits in front of it.
    Cancel,
}

/// Mono audio as it came: bytes, and how to read them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AudioBytes {
    pub encoding: Encoding,
    pub data: Bytes,
}

/// How audio is written in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Little-endian 32-bit floats at 24 kHz.
    F32,
    /// Little-endian 16-bit samples.
    Pcm16(PcmRate),
    /// An Ogg/Opus stream, cut anywhere.
    OggOpus,
}

/// Sample rate of raw PCM, in Hz. Only rates that microphones and telephones really have, so that every value can be
/// resampled.
///
/// ```
/// use moshi_server::stream::input::PcmRate;
/// assert_eq!(PcmRate::new(44_100).unwrap().hz(), 44_100);
/// assert_eq!(PcmRate::new(44_056), None);
/// assert_eq!(PcmRate::default().hz(), 24_000);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PcmRate(u32);

impl PcmRate {
    /// Every rate, lowest first.
    pub const ALL: [Self; 8] = [
        Self(8_000),
        Self(11_025),
        Self(16_000),
        Self(22_050),
        Self(24_000),
        Self(32_000),
        Self(44_100),
        Self(48_000),
    ];

    /// Returns the rate of `hz`, when it is one that is supported.
    #[must_use]
    pub fn new(hz: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|rate| rate.0 == hz)
    }

    /// Returns the rate in Hz.
    #[must_use]
    pub const fn hz(self) -> u32 {
        self.0
    }
}

impl Default for PcmRate {
    /// The rate of the models, which needs no resampling.
    fn default() -> Self {
        Self(super::frame::SAMPLE_RATE)
    }
}
