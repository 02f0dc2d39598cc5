//! An Ogg/Opus byte stream (RFC 7845) to samples.

use crate::audio::ogg::{OggError, OggPacket, OggReader};
use crate::audio::opus::{self, BadPacket, MAX_SAMPLES, OpusDecoder};

/// Why a stream cannot be decoded. The session it belongs to ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OggOpusError {
    #[error(transparent)]
    Ogg(#[from] OggError),
    #[error(transparent)]
    Packet(#[from] BadPacket),
    #[error("the Ogg stream does not begin with a valid Opus header")]
    Header,
    #[error("Opus streams with more than two channels are not supported")]
    Channels,
    #[error("no memory for an Opus decoder")]
    Memory,
}

/// Decodes a byte stream, cut anywhere, one Opus stream after another.
#[derive(Default)]
pub struct OggOpus {
    ogg: OggReader,
    stream: Option<Stream>,
}

/// What an identification header says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Head {
    /// Samples at 24 kHz to drop at the start.
    pub(crate) skip: usize,
    /// Factor on the decoded samples.
    pub(crate) gain: f32,
}

struct Stream {
    decoder: OpusDecoder,
    head: Head,
    /// The comment header has passed.
    tagged: bool,
    /// Samples at 24 kHz still to drop at the start.
    skip: usize,
    /// Samples decoded, dropped ones included.
    decoded: u64,
    pcm: Box<[f32; MAX_SAMPLES]>,
}

impl OggOpus {
    /// Takes `bytes`; `emit` gets mono samples at 24 kHz, packet by packet.
    ///
    /// # Errors
    /// The bytes are not Ogg/Opus. Nothing further can be decoded then.
    pub fn push(&mut self, bytes: &[u8], emit: &mut impl FnMut(&[f32])) -> Result<(), OggOpusError> {
        let stream = &mut self.stream;
        self.ogg.push(bytes, &mut |packet| {
            if packet.first {
                *stream = Some(Stream::new(Head::parse(packet.data)?)?);
                return Ok(());
            }
            match stream {
                Some(stream) => stream.packet(packet, emit),
                None => Err(OggOpusError::Header),
            }
        })
    }
}

impl Stream {
    fn new(head: Head) -> Result<Self, OggOpusError> {
        let decoder = OpusDecoder::new().ok_or(OggOpusError::Memory)?;
        let pcm = Box::new([0.0; MAX_SAMPLES]);
        Ok(Self {
            decoder,
            head,
            tagged: false,
            skip: head.skip,
            decoded: 0,
            pcm,
        })
    }

    fn packet(&mut self, packet: OggPacket<'_>, emit: &mut impl FnMut(&[f32])) -> Result<(), OggOpusError> {
        if !self.tagged {
            self.tagged = true;
            return if packet.data.starts_with(b"OpusTags") {
                Ok(())
            } else {
                Err(OggOpusError::Header)
            };
        }
        let samples = self.decoder.decode(packet.data, &mut self.pcm)?;
        self.decoded += samples as u64;
        let from = self.skip.min(samples);
        self.skip -= from;
        let to = samples
            - packet
                .end
                .map_or(0, |length| excess(self.decoded, length, samples));
        if from < to {
            let pcm = &mut self.pcm[from..to];
            if self.head.gain != 1.0 {
                pcm.iter_mut().for_each(|sample| *sample *= self.head.gain);
            }
            emit(pcm);
        }
        Ok(())
    }
}

/// Samples of the last packet beyond the stream's stated length. A length that would cut more than that packet is a
/// wrong one (some writers count at 24 kHz) and cuts nothing.
fn excess(decoded: u64, length_48k: u64, last: usize) -> usize {
    let excess = usize::try_from(decoded.saturating_sub(length_48k / 2)).unwrap_or(usize::MAX);
    if excess <= last { excess } else { 0 }
}

impl Head {
    /// Reads an `OpusHead` packet.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, OggOpusError> {
        let Some((head, _)) = data.split_first_chunk::<19>() else {
            return Err(OggOpusError::Header);
        };
        if !head.starts_with(b"OpusHead") || head[8] & 0xf0 != 0 {
            return Err(OggOpusError::Header);
        }
        let (channels, family) = (head[9], head[18]);
        if !(1..=2).contains(&channels) || family > 1 {
            return Err(OggOpusError::Channels);
        }
        let skip = usize::from(u16::from_le_bytes([head[10], head[11]])) / 2;
        let gain = f32::from(i16::from_le_bytes([head[16], head[17]])) / 256.0;
        Ok(Self {
            skip,
            gain: 10f32.powf(gain / 20.0),
        })
    }
}

/// Tells how much audio the bytes of a stream hold, without decoding: what a session pays for them.
#[derive(Default)]
pub struct OggMeter {
    ogg: OggReader,
    /// Header packets of the stream still to come.
    headers: u8,
}

impl OggMeter {
    /// Samples at 24 kHz in the packets that `bytes` complete, ones the decoder drops at the start included.
    ///
    /// # Errors
    /// As [`OggOpus::push`], as far as headers tell.
    pub fn push(&mut self, bytes: &[u8]) -> Result<u64, OggOpusError> {
        let headers = &mut self.headers;
        let mut samples = 0;
        self.ogg.push(bytes, &mut |packet| {
            if packet.first {
                Head::parse(packet.data)?;
                *headers = 1;
            } else if *headers > 0 {
                *headers = 0;
            } else {
                samples += opus::packet_samples(packet.data).ok_or(BadPacket)? as u64;
            }
            Ok::<(), OggOpusError>(())
        })?;
        Ok(samples)
    }
}

#[cfg(test)]
mod tests;
