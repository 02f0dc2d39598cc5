//! Ogg files of any codec, chained ones too (RFC 3533, section 4): several streams one after the other, as radio stations and
//! recorders that go on after a break write them. Each link of the chain is decoded as a file of its own.

use std::io::{self, Read, Seek, SeekFrom};
use std::sync::Arc;

use parking_lot::Mutex;
use symphonia::core::io::MediaSource;

use super::input::Ahead;
use super::packets::Packets;
use super::{FileError, Piece, Source};
use crate::audio::ogg_opus::OggOpus;
use crate::audio::{RATE, ogg};

/// Bytes of a page before the lengths of its segments.
const HEADER: usize = 27;

/// Bytes looked through at once where a page should begin and does not.
const SEARCH: usize = 4096;

/// Bytes read at once from a link of Opus.
const PIECE: usize = 16 << 10;

/// The pages of a file, up to where the next link begins.
struct Pages {
    input: Ahead,
    /// Bytes of the current page that were not given.
    left: usize,
    /// The link has had a page that begins no stream: one that does begins the next link.
    begun: bool,
}

impl Pages {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 && !self.page()? {
            return Ok(0);
        }
        let room = to.len().min(self.left);
        let count = self.input.read(&mut to[..room])?;
        self.left -= count;
        Ok(count)
    }

    /// Finds the next page. False at the end of the link.
    fn page(&mut self) -> io::Result<bool> {
        loop {
            let head = self.input.peek(HEADER)?;
            if head.is_empty() {
                return Ok(false);
            }
            if head.starts_with(b"OggS") {
                break;
            }
            // Damage, or what somebody put between the pages.
            let next = self.input.peek(SEARCH)?;
            let found = next.windows(4).position(|bytes| bytes == b"OggS");
            let lost = found.unwrap_or(next.len().saturating_sub(3).max(1));
            self.input.skip(lost as u64)?;
        }
        let head = self.input.peek(HEADER)?;
        let (flags, segments) = (
            head.get(5).copied().unwrap_or(0),
            head.get(26).copied().unwrap_or(0),
        );
        let begins = flags & 2 != 0;
        if begins && self.begun {
            return Ok(false);
        }
        self.begun |= !begins;
        let page = self.input.peek(HEADER + usize::from(segments))?;
        let body: usize = page.iter().skip(HEADER).map(|length| usize::from(*length)).sum();
        self.left = page.len() + body;
        Ok(true)
    }

    /// Goes on to the next link. False at the end of the file.
    fn next_link(&mut self) -> io::Result<bool> {
        // What the reader of the last link left.
        let mut rest = [0; PIECE];
        while self.read(&mut rest)? > 0 {}
        self.begun = false;
        Ok(!self.input.peek(1)?.is_empty())
    }

    fn is_opus(&mut self) -> io::Result<bool> {
        Ok(self.input.peek(HEADER + 9)?.get(HEADER + 1..) == Some(b"OpusHead"))
    }
}

/// One link, as a file that ends where the link does.
struct Link(Arc<Mutex<Pages>>);

impl Read for Link {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        self.0.lock().read(to)
    }
}

impl Seek for Link {
    fn seek(&mut self, _: SeekFrom) -> io::Result<u64> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl MediaSource for Link {
    fn is_seekable(&self) -> bool {
        false
    }

    fn byte_len(&self) -> Option<u64> {
        None
    }
}

/// All links of a file.
pub(super) struct Chain {
    pages: Arc<Mutex<Pages>>,
    link: Box<dyn Source>,
}

impl Chain {
    pub(super) fn open(input: Ahead) -> Result<Self, FileError> {
        let pages = Arc::new(Mutex::new(Pages {
            input,
            left: 0,
            begun: false,
        }));
        let link = open_link(&pages)?;
        Ok(Self { pages, link })
    }
}

fn open_link(pages: &Arc<Mutex<Pages>>) -> Result<Box<dyn Source>, FileError> {
    let link = Link(Arc::clone(pages));
    // Opus takes the way live streams take.
    if pages.lock().is_opus().map_err(FileError::Read)? {
        return Ok(Box::new(OpusLink {
            link,
            decoder: Box::default(),
            bytes: vec![0; PIECE],
            left: 0..0,
        }));
    }
    Ok(Box::new(Packets::probe(Box::new(link), None)?))
}

impl Source for Chain {
    fn next(&mut self, out: &mut Vec<f32>) -> Result<Piece, FileError> {
        match self.link.next(out)? {
            Piece::End => {}
            piece => return Ok(piece),
        }
        while self.pages.lock().next_link().map_err(FileError::Read)? {
            match open_link(&self.pages) {
                Ok(link) => {
                    self.link = link;
                    return Ok(Piece::Nothing);
                }
                // A link without audio.
                Err(FileError::NoAudio | FileError::Unknown) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Piece::End)
    }
}

struct OpusLink {
    link: Link,
    decoder: Box<OggOpus>,
    bytes: Vec<u8>,
    /// What of them was read and not decoded.
    left: std::ops::Range<usize>,
}

impl Source for OpusLink {
    fn next(&mut self, out: &mut Vec<f32>) -> Result<Piece, FileError> {
        if self.left.is_empty() {
            self.left = 0..self.link.read(&mut self.bytes).map_err(FileError::Read)?;
        }
        if self.left.is_empty() {
            return Ok(Piece::End);
        }
        let size = ogg::piece(&self.bytes[self.left.clone()]);
        let piece = self.left.start..self.left.start + size;
        self.left.start += size;
        self.decoder
            .push(&self.bytes[piece], &mut |samples| out.extend_from_slice(samples))?;
        Ok(Piece::Audio { rate: RATE })
    }
}

#[cfg(test)]
mod tests;
