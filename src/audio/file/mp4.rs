//! What an mp4 says that symphonia passes over: where the audio of a track begins (edit lists), and what its codec is called.
//!
//! Format: ISO/IEC 14496-12, sections 8.6.6 (edit lists) and 8.5.2 (sample descriptions).

use std::borrow::Cow;
use std::fs::File;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::time::Duration;

use super::FileError;
use super::packets::Start;

/// The largest `moov` that is looked into. An hour of audio has one of a few hundred kilobytes, a film's has megabytes.
const MAX_MOOV: u64 = 64 << 20;

/// The tracks of an mp4.
#[derive(Debug, Default)]
pub(super) struct Movie {
    tracks: Vec<Track>,
}

#[derive(Debug)]
struct Track {
    id: u32,
    start: Start,
    /// The codec's four letters, of a track of sound.
    sound: Option<[u8; 4]>,
}

impl Movie {
    /// Reads the head of `file`, which is left at its start. An mp4 that makes no sense has no tracks here.
    ///
    /// # Errors
    /// The file cannot be read.
    pub(super) fn read(file: &mut File) -> io::Result<Self> {
        let moov = moov(file)?.unwrap_or_default();
        file.rewind()?;
        Ok(Self::parse(&moov))
    }

    fn parse(moov: &[u8]) -> Self {
        let scale = find(moov, b"mvhd").and_then(time_scale);
        let traks = boxes(moov).filter(|(kind, _)| *kind == b"trak");
        let tracks = traks.filter_map(|(_, trak)| Track::parse(trak, scale)).collect();
        Self { tracks }
    }

    fn track(&self, id: u32) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == id)
    }

    /// Where the audio of the track `id` begins.
    pub(super) fn start(&self, id: u32) -> Start {
        self.track(id).map_or(Start::default(), |track| track.start)
    }

    /// Names the codec of the track `id`, which cannot be decoded.
    pub(super) fn codec(&self, id: u32) -> Option<FileError> {
        Some(FileError::CodecIn {
            container: "mp4",
            codec: name(self.track(id)?.sound?),
        })
    }
}

impl Track {
    /// `movie_scale` is the number of ticks per second in which the movie counts.
    fn parse(trak: &[u8], movie_scale: Option<u32>) -> Option<Self> {
        let tkhd = find(trak, b"tkhd")?;
        let id_at = if tkhd.first() == Some(&1) { 20 } else { 12 };
        let mdia = find(trak, b"mdia")?;
        let media_scale = find(mdia, b"mdhd").and_then(time_scale);
        let edits = find(trak, b"edts").and_then(|edts| find(edts, b"elst"));
        let start = edits.zip(movie_scale.zip(media_scale));
        let start = start.map(|(elst, (movie, media))| start_of(elst, movie, media));
        let handler = find(mdia, b"hdlr").and_then(|hdlr| hdlr.get(8..12));
        let stsd = find(mdia, b"minf").and_then(|minf| find(find(minf, b"stbl")?, b"stsd"));
        let sound = stsd.and_then(|stsd| stsd.get(12..16)?.first_chunk().copied());
        Some(Self {
            id: u32_at(tkhd, id_at)?,
            start: start.unwrap_or_default(),
            sound: sound.filter(|_| handler == Some(b"soun")),
        })
    }
}

/// The start that an edit list gives: empty edits are a delay, and the first other one says where in the media to begin.
fn start_of(elst: &[u8], movie_scale: u32, media_scale: u32) -> Start {
    let long = elst.first() == Some(&1);
    let count = u32_at(elst, 4).unwrap_or(0);
    let entries = elst
        .get(8..)
        .unwrap_or_default()
        .chunks_exact(if long { 20 } else { 12 });
    let mut start = Start::default();
    for entry in entries.take(count as usize) {
        let (duration, media_time) = if long {
            (u64_at(entry, 0), u64_at(entry, 8).map(u64::cast_signed))
        } else {
            let narrow = u32_at(entry, 4).map(|time| i64::from(time.cast_signed()));
            (u32_at(entry, 0).map(u64::from), narrow)
        };
        let (Some(duration), Some(media_time)) = (duration, media_time) else {
            break;
        };
        match u64::try_from(media_time) {
            Ok(time) => {
                start.skip = ticks(time, media_scale);
                break;
            }
            Err(_) => start.delay = start.delay.saturating_add(ticks(duration, movie_scale)),
        }
    }
    start
}

fn ticks(count: u64, per_second: u32) -> Duration {
    Duration::try_from_secs_f64(count as f64 / f64::from(per_second.max(1))).unwrap_or_default()
}

/// Ticks per second of an `mvhd` or `mdhd`.
fn time_scale(body: &[u8]) -> Option<u32> {
    u32_at(body, if body.first() == Some(&1) { 20 } else { 12 })
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// The boxes in `bytes`, kind and body of each, as far as they are whole.
fn boxes(bytes: &[u8]) -> impl Iterator<Item = (&[u8; 4], &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let (size, kind) = (u32_at(rest, 0)?, rest.get(4..)?.first_chunk()?);
        let (head, size) = match size {
            0 => (8, rest.len()),
            1 => (16, usize::try_from(u64_at(rest, 8)?).ok()?),
            size => (8, size as usize),
        };
        let body = rest.get(head..size)?;
        rest = &rest[size..];
        Some((kind, body))
    })
}

/// The body of the first box of `kind` in `bytes`.
fn find<'a>(bytes: &'a [u8], kind: &[u8; 4]) -> Option<&'a [u8]> {
    boxes(bytes)
        .find(|(found, _)| *found == kind)
        .map(|(_, body)| body)
}

/// The body of the file's `moov`; none when there is none, or it is too large.
fn moov(file: &mut File) -> io::Result<Option<Vec<u8>>> {
    let length = file.metadata()?.len();
    let mut at = 0;
    while at < length {
        file.seek(SeekFrom::Start(at))?;
        let mut head = Vec::new();
        (&mut *file).take(16).read_to_end(&mut head)?;
        let (Some(size), Some(kind)) = (u32_at(&head, 0), head.get(4..8)) else {
            break;
        };
        let (skip, size) = match size {
            0 => (8, length - at),
            1 => (16, u64_at(&head, 8).unwrap_or(0)),
            size => (8, u64::from(size)),
        };
        if size < skip {
            break;
        }
        if kind == b"moov" {
            let body = size - skip;
            if body > MAX_MOOV {
                break;
            }
            file.seek(SeekFrom::Start(at + skip))?;
            let mut moov = Vec::new();
            (&mut *file).take(body).read_to_end(&mut moov)?;
            return Ok(Some(moov));
        }
        at = at.saturating_add(size);
    }
    Ok(None)
}

/// What people call a codec of sound, by its four letters.
fn name(code: [u8; 4]) -> Cow<'static, str> {
    let name = match &code {
        b"ac-3" => "AC-3",
        b"ec-3" => "E-AC-3",
        b"ac-4" => "AC-4",
        b"samr" => "AMR",
        b"sawb" => "AMR-WB",
        b"dtsc" | b"dtse" | b"dtsh" | b"dtsl" | b"dtsx" => "DTS",
        b"mp4a" => "a form of AAC or MPEG-4 audio",
        b"QDM2" | b"QDMC" => "QDesign Music",
        b"MAC3" | b"MAC6" => "MACE",
        b"ima4" => "IMA ADPCM",
        b"agsm" => "GSM 06.10",
        b"Qclp" => "QCELP",
        b"mha1" | b"mhm1" => "MPEG-H audio",
        b"enca" => "encrypted audio",
        _ => return Cow::Owned(format!("the codec {:?}", String::from_utf8_lossy(&code))),
    };
    Cow::Borrowed(name)
}

#[cfg(test)]
mod tests;
