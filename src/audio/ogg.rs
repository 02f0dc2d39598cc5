//! Ogg pages to packets (RFC 3533), for one Opus stream at a time, from bytes cut anywhere.
//!
//! Live streams need what file readers do not give: memory bounded by one page and one packet whatever a client
//! sends, no allocation once warm, and a new stream after the old one on the same connection.

const HEADER: usize = 27;

/// The longest packet kept. An Opus packet is at most 61,298 bytes; of longer ones (tags with pictures) the head is
/// enough.
const MAX_PACKET: usize = 64 << 10;

/// Bytes that are no Ogg stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OggError {
    #[error("not Ogg: a page must begin with `OggS`")]
    NotOgg,
    #[error("Ogg version {0} is not supported")]
    Version(u8),
    #[error("an Ogg page is damaged: its checksum does not fit")]
    Checksum,
}

/// A packet, put together.
#[derive(Clone, Copy, Debug)]
pub struct OggPacket<'a> {
    pub data: &'a [u8],
    /// First packet of a stream.
    pub first: bool,
    /// On the last packet of a stream that was ended properly: the stream's length in samples at 48 kHz, as its
    /// writer counted.
    pub end: Option<u64>,
}

/// Takes bytes, gives packets.
#[derive(Default)]
pub struct OggReader {
    /// Bytes that do not make a whole page yet.
    bytes: Vec<u8>,
    /// Serial number of the stream that is followed.
    serial: Option<u32>,
    /// The part of a packet that earlier pages held.
    packet: Vec<u8>,
    /// The last page ended inside a packet.
    continued: bool,
}

impl OggReader {
    /// Takes `bytes` and hands each packet that they complete to `on`.
    ///
    /// # Errors
    /// The bytes are not Ogg, or `on` failed. What follows on the stream is undefined then.
    pub fn push<E: From<OggError>>(
        &mut self,
        bytes: &[u8],
        on: &mut impl FnMut(OggPacket<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut buffer = std::mem::take(&mut self.bytes);
        buffer.extend_from_slice(bytes);
        let mut at = 0;
        let result = loop {
            match Page::parse(&buffer[at..]) {
                Ok(None) => break Ok(()),
                Ok(Some(page)) => {
                    at += page.length;
                    if let Err(error) = self.page(&page, on) {
                        break Err(error);
                    }
                }
                Err(error) => break Err(error.into()),
            }
        };
        buffer.drain(..at);
        self.bytes = buffer;
        result
    }

    fn page<E>(
        &mut self,
        page: &Page<'_>,
        on: &mut impl FnMut(OggPacket<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        if page.begins {
            // Other streams may be interleaved in a file; only the Opus one is followed.
            if page.body.starts_with(b"OpusHead") {
                self.serial = Some(page.serial);
                self.packet.clear();
                self.continued = false;
            }
        }
        if self.serial != Some(page.serial) {
            return Ok(());
        }
        // A packet whose start or end is missing is dropped; neither can be decoded.
        let mut torn = page.continues && !self.continued;
        if !page.continues {
            self.packet.clear();
        }
        let mut first = page.begins;
        let last_end = page.lacing.iter().rposition(|lace| *lace < 255);
        let mut body = page.body;
        for (index, lace) in page.lacing.iter().enumerate() {
            let (segment, rest) = body.split_at(usize::from(*lace));
            body = rest;
            let room = MAX_PACKET - self.packet.len();
            self.packet.extend_from_slice(&segment[..segment.len().min(room)]);
            if *lace < 255 {
                let end = (page.ends && Some(index) == last_end).then_some(page.granule);
                let done = if torn {
                    Ok(())
                } else {
                    on(OggPacket {
                        data: &self.packet,
                        first,
                        end,
                    })
                };
                self.packet.clear();
                torn = false;
                first = false;
                done?;
            }
        }
        self.continued = page.lacing.last() == Some(&255) && !torn;
        Ok(())
    }
}

struct Page<'a> {
    continues: bool,
    begins: bool,
    ends: bool,
    granule: u64,
    serial: u32,
    lacing: &'a [u8],
    body: &'a [u8],
    length: usize,
}

impl<'a> Page<'a> {
    /// The page at the front of `bytes`; none when it is not all there.
    fn parse(bytes: &'a [u8]) -> Result<Option<Self>, OggError> {
        let magic = &b"OggS"[..bytes.len().min(4)];
        if !bytes.starts_with(magic) {
            return Err(OggError::NotOgg);
        }
        let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        if header[4] != 0 {
            return Err(OggError::Version(header[4]));
        }
        let segments = usize::from(header[26]);
        let Some((lacing, rest)) = rest.split_at_checked(segments) else {
            return Ok(None);
        };
        let size = lacing.iter().map(|lace| usize::from(*lace)).sum();
        let Some(body) = rest.get(..size) else {
            return Ok(None);
        };
        let length = HEADER + segments + size;
        let word =
            |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if checksum(&bytes[..length]) != word(22) {
            return Err(OggError::Checksum);
        }
        let granule = u64::from(word(6)) | u64::from(word(10)) << 32;
        let flags = header[5];
        Ok(Some(Self {
            continues: flags & 1 != 0,
            begins: flags & 2 != 0,
            ends: flags & 4 != 0,
            granule,
            serial: word(14),
            lacing,
            body,
            length,
        }))
    }
}

/// Ogg's CRC-32 (polynomial 0x04c11db7, no reflection) of a page, its own field counted as zero.
pub(in crate::audio) fn checksum(page: &[u8]) -> u32 {
    let step = |crc: u32, byte: u8| crc << 8 ^ CRC[usize::from((crc >> 24) as u8 ^ byte)];
    let crc = page[..22].iter().fold(0, |crc, byte| step(crc, *byte));
    let crc = [0; 4].iter().fold(crc, |crc, byte| step(crc, *byte));
    page[26..].iter().fold(crc, |crc, byte| step(crc, *byte))
}

const CRC: [u32; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut crc = (index as u32) << 24;
        let mut bit = 0;
        while bit < 8 {
            crc = if crc >> 31 == 1 {
                crc << 1 ^ 0x04c1_1db7
            } else {
                crc << 1
            };
            bit += 1;
        }
        table[index] = crc;
        index += 1;
    }
    table
};

/// Bytes that are decoded at once.
const PIECE: usize = 4096;

/// Bytes at the front of `stream` that hold little audio: not more than a page, because pages of silence are so short that
/// kilobytes of them are minutes. Whatever else looks like the start of a page is cut there too, which hurts nothing.
#[must_use]
pub fn piece(stream: &[u8]) -> usize {
    let start = stream.windows(4).skip(1).position(|bytes| bytes == b"OggS");
    start.map_or(stream.len(), |at| at + 1).min(PIECE)
}
