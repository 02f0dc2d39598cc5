//! An Ogg/Opus byte stream (RFC 7845) to samples.

use crate::audio::ogg::{OggError, OggPacket, OggReader};
use crate::audio::opus::{self, BadPacket, Layout, MAX_SAMPLES, OpusDecoder};

/// Why a stream cannot be decoded. The session it belongs to ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OggOpusError {
    #[error(transparent)]
    Ogg(#[from] OggError),
    #[error(transparent)]
    Packet(#[from] BadPacket),
    #[error("the Ogg stream does not begin with a valid Opus header")]
    Header,
    #[error("Opus with channel mapping family {0} is not supported (0 and 1 are): convert it to stereo")]
    Family(u8),
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
    /// How the streams of a packet become channels; none where there is one stream, of one or two.
    pub(crate) layout: Option<Layout>,
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
        let decoder = OpusDecoder::new(head.layout).ok_or(OggOpusError::Memory)?;
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
    /// Reads an `OpusHead` packet (RFC 7845, section 5.1).
    pub(crate) fn parse(data: &[u8]) -> Result<Self, OggOpusError> {
        match data.get(8) {
            Some(version) if version & 0xf0 == 0 => {
                Self::fields(data, u16::from_le_bytes, i16::from_le_bytes)
            }
            _ => Err(OggOpusError::Header),
        }
    }

    /// Reads what symphonia makes of an mp4's `dOps` box: an `OpusHead` of version 0 whose numbers are big-endian (Opus in
    /// ISOBMFF, section 4.3.2).
    pub(crate) fn parse_mp4(data: &[u8]) -> Result<Self, OggOpusError> {
        match data.get(8) {
            Some(0) => Self::fields(data, u16::from_be_bytes, i16::from_be_bytes),
            _ => Err(OggOpusError::Header),
        }
    }

    /// What holds for mono or stereo where no header says otherwise.
    pub(crate) fn plain(skip: usize) -> Self {
        Self {
            skip,
            gain: 1.0,
            layout: None,
        }
    }

    fn fields(
        data: &[u8],
        unsigned: impl Fn([u8; 2]) -> u16,
        signed: impl Fn([u8; 2]) -> i16,
    ) -> Result<Self, OggOpusError> {
        let Some((head, table)) = data.split_first_chunk::<19>() else {
            return Err(OggOpusError::Header);
        };
        if !head.starts_with(b"OpusHead") {
            return Err(OggOpusError::Header);
        }
        let layout = match (head[18], head[9]) {
            (0, 1..=2) => None,
            (1, channels @ 1..=8) => Layout::parse(channels, table).ok_or(OggOpusError::Header)?,
            (0 | 1, _) => return Err(OggOpusError::Header),
            (family, _) => return Err(OggOpusError::Family(family)),
        };
        Ok(Self {
            skip: usize::from(unsigned([head[10], head[11]])) / 2,
            gain: 10f32.powf(f32::from(signed([head[16], head[17]])) / 256.0 / 20.0),
            layout,
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
