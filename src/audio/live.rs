//! Live audio as the clients of other services send it: raw in a form they name, or in a container that says it itself.

use bytes::{Bytes, BytesMut};

use super::g711::Law;
use crate::stream::input::{AudioBytes, Encoding, PcmRate};

/// Most bytes of a WAV in front of its samples.
const MAX_HEAD: usize = 64 << 10;

/// Samples as raw bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Samples {
    /// 16 bits, little-endian.
    Linear16,
    G711(Law),
}

/// What a client sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Raw {
        samples: Samples,
        rate: PcmRate,
        /// Interleaved; the first is heard.
        channels: u16,
    },
    OggOpus,
    /// WAV or Ogg; the first bytes tell.
    Container,
}

impl Format {
    /// Returns what makes a WAV file of raw audio when it stands before it; none for audio that says itself what it is. The
    /// lengths are those of a file whose length is not known.
    #[must_use]
    pub fn wav_head(self) -> Option<Vec<u8>> {
        let Self::Raw {
            samples,
            rate,
            channels,
        } = self
        else {
            return None;
        };
        let (code, width) = match samples {
            Samples::Linear16 => (1u16, 2u16),
            Samples::G711(Law::A) => (6, 1),
            Samples::G711(Law::Mu) => (7, 1),
        };
        let frame = channels * width;
        let mut head = b"RIFF\xff\xff\xff\xffWAVEfmt \x10\0\0\0".to_vec();
        head.extend(code.to_le_bytes());
        head.extend(channels.to_le_bytes());
        head.extend(rate.hz().to_le_bytes());
        head.extend((rate.hz() * u32::from(frame)).to_le_bytes());
        head.extend(frame.to_le_bytes());
        head.extend((8 * width).to_le_bytes());
        head.extend(b"data\xff\xff\xff\xff");
        Some(head)
    }
}

/// Audio that cannot be taken live: the client's fault, and the end of its stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    #[error("no audio is recognised: send WAV or Ogg/Opus, or name the encoding of raw audio")]
    Unknown,
    #[error("WebM is not taken live: send Ogg/Opus, WAV or raw audio, or post the whole file")]
    WebM,
    #[error("the WAV cannot be read: {0}")]
    Wav(&'static str),
}

/// Reads one stream of live audio.
#[derive(Debug)]
pub struct Live {
    format: Format,
    /// The head of a container, as far as it has come.
    head: BytesMut,
    /// Bytes of raw audio so far, in the frame of channels that is not whole yet.
    at: usize,
}

impl Live {
    #[must_use]
    pub fn new(format: Format) -> Self {
        Self {
            format,
            head: BytesMut::new(),
            at: 0,
        }
    }

    /// Takes the next bytes of the client and returns them as a stream takes them; none while a container's head is not whole.
    ///
    /// # Errors
    /// It is no audio that can be taken.
    pub fn push(&mut self, bytes: Bytes) -> Result<Option<AudioBytes>, LiveError> {
        let data = match self.format {
            Format::Container => {
                self.head.extend_from_slice(&bytes);
                let Some(found) = found(&self.head)? else {
                    return Ok(None);
                };
                self.format = found.format;
                self.head.split_off(found.skip).freeze()
            }
            Format::Raw { .. } | Format::OggOpus => bytes,
        };
        Ok(Some(self.read(data)))
    }

    fn read(&mut self, data: Bytes) -> AudioBytes {
        let Format::Raw {
            samples,
            rate,
            channels,
        } = self.format
        else {
            return AudioBytes {
                encoding: Encoding::OggOpus,
                data,
            };
        };
        let width = match samples {
            Samples::Linear16 => 2,
            Samples::G711(_) => 1,
        };
        let data = self.first_channel(data, width, usize::from(channels.max(1)));
        AudioBytes {
            encoding: Encoding::Pcm16(rate),
            data: match samples {
                Samples::Linear16 => data,
                Samples::G711(law) => law.expand(&data).into(),
            },
        }
    }

    /// Returns the samples of `width` bytes that belong to the first of `channels`. A message may end anywhere in a sample.
    fn first_channel(&mut self, data: Bytes, width: usize, channels: usize) -> Bytes {
        if channels == 1 {
            return data;
        }
        let first = self.at;
        let frame = width * channels;
        self.at = (first + data.len()) % frame;
        let heard = data
            .iter()
            .enumerate()
            .filter(|(at, _)| (first + at) % frame < width);
        heard.map(|(_, byte)| *byte).collect()
    }
}

/// What a container holds, and where its audio begins.
struct Found {
    format: Format,
    skip: usize,
}

fn found(head: &[u8]) -> Result<Option<Found>, LiveError> {
    let Some(magic) = head.first_chunk::<4>() else {
        return Ok(None);
    };
    match magic {
        b"OggS" => Ok(Some(Found {
            format: Format::OggOpus,
            skip: 0,
        })),
        b"RIFF" => wav(head),
        [0x1a, 0x45, 0xdf, 0xa3] => Err(LiveError::WebM),
        _ => Err(LiveError::Unknown),
    }
}

// What is behind the head counts as samples to the end: a live WAV does not know its length.
fn wav(head: &[u8]) -> Result<Option<Found>, LiveError> {
    let mut format = None;
    let mut at = 12;
    while let Some(chunk) = head.get(at..at + 8) {
        let (id, size) = chunk.split_at(4);
        let size = u32::from_le_bytes([size[0], size[1], size[2], size[3]]) as usize;
        let body = at + 8;
        match id {
            b"data" => {
                let format = format.ok_or(LiveError::Wav("it has samples before their format"))?;
                return Ok(Some(Found { format, skip: body }));
            }
            b"fmt " => match head.get(body..body + 16) {
                Some(fields) => format = Some(wav_format(fields)?),
                None => break,
            },
            _ => {}
        }
        // Chunks begin at even places.
        at = body.saturating_add(size.saturating_add(size % 2));
    }
    if head.len() > MAX_HEAD {
        return Err(LiveError::Wav("there are no samples in its first 64 KiB"));
    }
    Ok(None)
}

fn wav_format(fields: &[u8]) -> Result<Format, LiveError> {
    let word = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
    let rate = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
    // Registered codes of formats: PCM, A-law, mu-law, and "see the rest", which recorders write for PCM.
    let samples = match (word(0), word(14)) {
        (1 | 0xfffe, 16) => Samples::Linear16,
        (6, 8) => Samples::G711(Law::A),
        (7, 8) => Samples::G711(Law::Mu),
        _ => return Err(LiveError::Wav("live it may hold 16-bit PCM, mu-law or A-law")),
    };
    Ok(Format::Raw {
        samples,
        rate: PcmRate::new(rate).ok_or(LiveError::Wav("its sample rate is not one that is taken live"))?,
        channels: word(2),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(hz: u32) -> PcmRate {
        PcmRate::new(hz).unwrap()
    }

    /// Audio of `format` in pieces of `size` bytes.
    fn heard(format: Format, bytes: &[u8], size: usize) -> Result<Vec<(Encoding, Vec<u8>)>, LiveError> {
        let mut live = Live::new(format);
        let mut heard: Vec<(Encoding, Vec<u8>)> = Vec::new();
        for piece in bytes.chunks(size) {
            let Some(audio) = live.push(Bytes::copy_from_slice(piece))? else {
                continue;
            };
            match heard
                .last_mut()
                .filter(|(encoding, _)| *encoding == audio.encoding)
            {
                Some((_, data)) => data.extend(&audio.data),
                None => heard.push((audio.encoding, audio.data.to_vec())),
            }
        }
        Ok(heard)
    }

    fn wav_of(code: u16, channels: u16, bits: u16, hz: u32, samples: &[u8]) -> Vec<u8> {
        let mut out = b"RIFF\xff\xff\xff\xffWAVELIST\x03\0\0\0abc\0fmt \x10\0\0\0".to_vec();
        out.extend(code.to_le_bytes());
        out.extend(channels.to_le_bytes());
        out.extend(hz.to_le_bytes());
        out.extend([0; 6]);
        out.extend(bits.to_le_bytes());
        out.extend(b"data\xff\xff\xff\xff");
        out.extend(samples);
        out
    }

    #[test]
    fn a_wav_says_itself_what_it_holds_however_it_is_cut() {
        for size in [1, 7, 1000] {
            let wav = wav_of(1, 2, 16, 16_000, &[1, 2, 3, 4, 5, 6, 7, 8]);
            let expected = [(Encoding::Pcm16(rate(16_000)), vec![1, 2, 5, 6])];
            assert_eq!(heard(Format::Container, &wav, size).unwrap(), expected, "{size}");
            let wav = wav_of(7, 1, 8, 8_000, &[0xff, 0x80]);
            let expected = [(Encoding::Pcm16(rate(8_000)), vec![0, 0, 0x7c, 0x7d])];
            assert_eq!(heard(Format::Container, &wav, size).unwrap(), expected, "{size}");
        }
    }

    #[test]
    fn raw_audio_behind_the_head_of_a_wav_is_read_back() {
        for samples in [Samples::Linear16, Samples::G711(Law::A), Samples::G711(Law::Mu)] {
            for channels in [1, 2] {
                let raw = Format::Raw {
                    samples,
                    rate: rate(8_000),
                    channels,
                };
                let wav = [raw.wav_head().unwrap(), vec![1; 8]].concat();
                assert_eq!(heard(Format::Container, &wav, 5), heard(raw, &[1; 8], 5));
            }
        }
        assert_eq!(Format::OggOpus.wav_head(), None);
    }

    #[test]
    fn ogg_is_known_by_its_first_bytes() {
        let expected = [(Encoding::OggOpus, b"OggS and more".to_vec())];
        assert_eq!(heard(Format::Container, b"OggS and more", 3).unwrap(), expected);
        assert_eq!(heard(Format::OggOpus, b"OggS and more", 3).unwrap(), expected);
    }

    #[test]
    fn what_cannot_be_taken_live_is_named() {
        let webm = heard(Format::Container, &[0x1a, 0x45, 0xdf, 0xa3], 4);
        assert_eq!(webm, Err(LiveError::WebM));
        assert_eq!(heard(Format::Container, b"fLaC", 4), Err(LiveError::Unknown));
        for (code, bits, hz) in [(3, 32, 16_000), (1, 24, 16_000), (1, 16, 44_056)] {
            let wav = wav_of(code, 1, bits, hz, &[]);
            assert!(matches!(
                heard(Format::Container, &wav, 64),
                Err(LiveError::Wav(_))
            ));
        }
        let endless = [
            b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f".to_vec(),
            vec![0; MAX_HEAD],
        ]
        .concat();
        assert!(matches!(
            heard(Format::Container, &endless, 1000),
            Err(LiveError::Wav(_))
        ));
    }

    #[test]
    fn the_first_of_several_channels_is_heard() {
        let format = |samples, channels| Format::Raw {
            samples,
            rate: rate(8_000),
            channels,
        };
        let pcm = Encoding::Pcm16(rate(8_000));
        for size in [1, 3, 64] {
            let three = heard(
                format(Samples::Linear16, 3),
                &[1, 2, 0, 0, 0, 0, 3, 4, 0, 0, 0, 0],
                size,
            );
            assert_eq!(three.unwrap(), [(pcm, vec![1, 2, 3, 4])]);
            let two = heard(format(Samples::G711(Law::Mu), 2), &[0xff, 0, 0x80, 0], size);
            assert_eq!(two.unwrap(), [(pcm, vec![0, 0, 0x7c, 0x7d])]);
        }
    }
}
