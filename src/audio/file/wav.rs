//! WAV as recorders leave it: sizes that were never written, or are wrong, padding that is missing.
//!
//! The head is read here, and what follows sees the one form that every reader understands: a plain format chunk, then samples
//! to the end. RF64 and BW64 (EBU Tech 3306) hold the true length in a chunk of their own.

use std::borrow::Cow;
use std::io::{self, Cursor, Read};
use std::time::Duration;

use super::FileError;
use super::input::Ahead;

/// Bytes of a format chunk that are read; what is longer is no format that can be decoded.
const MAX_FORMAT: u32 = 4096;

/// Lengths from here on are no lengths: recorders and pipes write the largest number of 31 or 32 bits, or one a little below.
const NO_LENGTH: u64 = 0x7fff_0000;

/// A WAV whose head was read.
pub(super) struct Wav {
    /// A head in the plain form, then the samples.
    pub(super) bytes: io::Chain<Cursor<Vec<u8>>, Samples>,
    /// None where the file does not say.
    pub(super) length: Option<Duration>,
}

/// What a WAV holds.
pub(super) enum Opened {
    Wav(Wav),
    /// A stream of MP3 in a WAV.
    Mp3(Samples),
}

/// Reads the head of a WAV.
///
/// # Errors
/// There is no format or no data in it, or its codec is none that can be decoded.
pub(super) fn open(mut input: Ahead) -> Result<Opened, FileError> {
    input.skip(12).map_err(FileError::Read)?;
    let (mut format, mut long) = (None, None);
    loop {
        let (id, size) = chunk(&mut input)?.ok_or(FileError::NoAudio)?;
        match &id {
            b"data" => {
                let declared = match (size, long) {
                    (u32::MAX, Some(long)) => Some(long),
                    (0, _) if is_known(input.peek(8).map_err(FileError::Read)?) => continue,
                    (0, _) => None,
                    (size, _) => Some(u64::from(size)),
                };
                let format: Format =
                    format.ok_or_else(|| FileError::Damaged("a WAV without a format".to_owned()))?;
                let true_length = declared.filter(|bytes| long.is_some() || *bytes < NO_LENGTH);
                let length = true_length.map(|bytes| format.lasts(bytes));
                let samples = Samples {
                    input,
                    left: declared,
                    odd: declared.is_some_and(|bytes| bytes % 2 == 1),
                };
                return Ok(match format.codec {
                    Codec::Mp3 => Opened::Mp3(samples),
                    Codec::Wav => Opened::Wav(Wav {
                        bytes: Cursor::new(format.head()).chain(samples),
                        length,
                    }),
                });
            }
            b"fmt " if size <= MAX_FORMAT => {
                let body = input.peek(size as usize).map_err(FileError::Read)?;
                format = Some(Format::parse(body)?);
            }
            b"ds64" => {
                let body = input.peek(16).map_err(FileError::Read)?;
                long = body
                    .get(8..16)
                    .and_then(|bytes| Some(u64::from_le_bytes(*bytes.first_chunk()?)));
            }
            _ => {}
        }
        input.skip(size.into()).map_err(FileError::Read)?;
        pad(&mut input, size).map_err(FileError::Read)?;
    }
}

/// Name and size of the next chunk; none at the end.
fn chunk(input: &mut Ahead) -> Result<Option<([u8; 4], u32)>, FileError> {
    let mut head = [0; 8];
    match input.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(FileError::Read(error)),
    }
    let [a, b, c, d, size @ ..] = head;
    Ok(Some(([a, b, c, d], u32::from_le_bytes(size))))
}

/// Takes the byte after a chunk of odd size, which some writers leave out: no name begins with a zero.
fn pad(input: &mut Ahead, size: u32) -> io::Result<()> {
    if size % 2 == 1
        && input
            .peek(1)?
            .first()
            .is_some_and(|byte| !byte.is_ascii_graphic())
    {
        input.skip(1)?;
    }
    Ok(())
}

/// Chunks that come behind samples, or where samples were expected.
const KNOWN: [&[u8; 4]; 20] = [
    b"LIST", b"id3 ", b"ID3 ", b"bext", b"cue ", b"fact", b"JUNK", b"junk", b"PAD ", b"smpl", b"inst",
    b"DISP", b"iXML", b"axml", b"PEAK", b"_PMX", b"acid", b"afsp", b"data", b"levl",
];

fn is_known(head: &[u8]) -> bool {
    head.len() == 8 && KNOWN.iter().any(|known| head.starts_with(*known))
}

/// The bytes of the samples. Where they go on behind the length that the head says, they are read to the end: the head was
/// written before they were, or counts modulo 2^32.
pub(super) struct Samples {
    input: Ahead,
    /// Bytes before the stated end; none when it is past, or was never known.
    left: Option<u64>,
    odd: bool,
}

impl Read for Samples {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == Some(0) {
            if self.is_end()? {
                return Ok(0);
            }
            self.left = None;
        }
        let most = self.left.unwrap_or(u64::MAX);
        let room = to.len().min(usize::try_from(most).unwrap_or(usize::MAX));
        let count = self.input.read(&mut to[..room])?;
        if let Some(left) = &mut self.left {
            *left -= count as u64;
        }
        Ok(count)
    }
}

impl Samples {
    /// Whether the file, or another chunk, and not more samples follow the stated end.
    fn is_end(&mut self) -> io::Result<bool> {
        let next = self.input.peek(9)?;
        let named =
            |bytes: &[u8]| bytes.len() >= 8 && bytes[..4].iter().all(|b| b.is_ascii_graphic() || *b == b' ');
        Ok(next.len() < 8 || named(next) || self.odd && named(&next[1..]))
    }
}

enum Codec {
    /// One that symphonia's WAV reader knows.
    Wav,
    Mp3,
}

/// A format chunk in its plain form.
struct Format {
    codec: Codec,
    bytes: Vec<u8>,
}

impl Format {
    fn parse(chunk: &[u8]) -> Result<Self, FileError> {
        let Some(plain) = chunk.first_chunk::<16>() else {
            return Err(FileError::Damaged(
                "the format of the WAV is cut short".to_owned(),
            ));
        };
        let mut tag = u16::from_le_bytes([plain[0], plain[1]]);
        if tag == 0xfffe
            && let Some(sub) = chunk.get(24..26)
        {
            // WAVEFORMATEXTENSIBLE: the tag is in front of a longer name, behind a map of loudspeakers that is often wrong.
            tag = u16::from_le_bytes([sub[0], sub[1]]);
        }
        let mut bytes = plain.to_vec();
        bytes[..2].copy_from_slice(&tag.to_le_bytes());
        let mut codec = Codec::Wav;
        match tag {
            1 => {
                // Samples of 12 or 20 bits fill whole bytes, from the top.
                let bits = u16::from_le_bytes([plain[14], plain[15]]);
                bytes[14..16].copy_from_slice(&bits.next_multiple_of(8).to_le_bytes());
            }
            3 => {}
            // Telephone: A-law and mu-law.
            6 | 7 => bytes.extend([0, 0]),
            // ADPCM needs all of its chunk.
            0x02 | 0x11 => {
                bytes = chunk.to_vec();
                bytes.resize(bytes.len().next_multiple_of(2), 0);
            }
            0x55 => codec = Codec::Mp3,
            other => {
                return Err(FileError::CodecIn {
                    container: "WAV",
                    codec: name(other),
                });
            }
        }
        Ok(Self { codec, bytes })
    }

    /// How long `bytes` of samples last.
    fn lasts(&self, bytes: u64) -> Duration {
        let rate = self.bytes[8..12]
            .first_chunk()
            .map_or(0, |rate| u32::from_le_bytes(*rate));
        Duration::from_secs_f64(bytes as f64 / f64::from(rate.max(1)))
    }

    /// A head that says nothing but the format.
    fn head(&self) -> Vec<u8> {
        let mut head = b"RIFF\xff\xff\xff\xffWAVEfmt ".to_vec();
        head.extend((self.bytes.len() as u32).to_le_bytes());
        head.extend(&self.bytes);
        head.extend(b"data\xff\xff\xff\xff");
        head
    }
}

/// What people call a codec, by its tag (RFC 2361 and Microsoft's mmreg.h).
fn name(tag: u16) -> Cow<'static, str> {
    let name = match tag {
        0x10 | 0x17 => "OKI ADPCM",
        0x14 | 0x40 | 0x45 | 0x64 => "G.726 ADPCM",
        0x20 => "Yamaha ADPCM",
        0x22 => "TrueSpeech",
        0x31 => "GSM 06.10",
        0x42 | 0x111 => "G.723.1",
        0x50 => "MPEG layer I or II audio",
        0x65 | 0x28f => "G.722",
        0x83 | 0x133 => "G.729",
        0xff | 0x1600 | 0x1601 | 0x1602 | 0x1610 => "AAC",
        0x160..=0x164 => "Windows Media audio",
        0x270 => "ATRAC3",
        0x2000 => "AC-3",
        0x2001 => "DTS",
        0x566f | 0x674f..=0x6771 => "Vorbis",
        0x704f => "Opus",
        0xa109 => "Speex",
        0xf1ac => "FLAC",
        _ => return Cow::Owned(format!("the codec 0x{tag:04x}")),
    };
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests;
