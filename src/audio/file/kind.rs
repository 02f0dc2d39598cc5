//! What kind of file it is, by its first bytes.

/// Bytes that tell the kinds apart.
pub(super) const SNIFF: usize = 64;

/// Kinds of files that are read, or refused, each in its own way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Empty,
    /// WAV, or its forms for more than four gigabytes.
    Wav,
    Ogg,
    /// MP4, M4A or QuickTime.
    Mp4,
    /// Apple's Core Audio Format.
    Caf,
    /// Whatever else symphonia finds in it.
    Other,
    /// A part of a recording without what stands at its beginning.
    LaterPart,
    /// A kind that nothing here reads.
    Foreign(&'static str),
}

/// Starts of files that are no audio, or audio that nothing here reads, with what people call them.
const FOREIGN: [(&[u8], &str); 24] = [
    (b"#!AMR", "an AMR recording"),
    (b".snd", "a Sun audio file (au)"),
    (
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        "a Windows Media file (wma, asf)",
    ),
    (b"wvpk", "a WavPack file"),
    (b"MAC ", "a Monkey's Audio file (ape)"),
    (b"MPCK", "a Musepack file"),
    (b"MP+", "a Musepack file"),
    (b"TTA1", "a True Audio file (tta)"),
    (b"DSD ", "a DSD file (dsf)"),
    (b"FRM8", "a DSD file (dff)"),
    (b"MThd", "a MIDI file, which holds notes and no sound"),
    (b"FLV\x01", "a Flash video"),
    (b"\0\0\x01\xba", "an MPEG program stream"),
    (b".RMF", "a RealMedia file"),
    (b"riff\x2e\x91\xcf\x11", "a Sony Wave64 file"),
    (b"RIFX", "a big-endian WAV"),
    (b"#EXTM3U", "a playlist, which holds no sound itself"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip archive"),
    (b"%PDF", "a PDF document"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"<!DOCTYPE", "a web page"),
    (b"<html", "a web page"),
];

impl Kind {
    /// Tells the kind from the first [`SNIFF`] bytes, or all of them where there are fewer.
    pub(super) fn of(start: &[u8]) -> Self {
        if start.is_empty() {
            return Self::Empty;
        }
        if let Some((_, name)) = FOREIGN.iter().find(|(magic, _)| start.starts_with(magic)) {
            return Self::Foreign(name);
        }
        match (start.first_chunk::<4>(), start.get(8..12)) {
            (Some(b"RIFF" | b"RF64" | b"BW64"), Some(b"WAVE")) => return Self::Wav,
            (Some(b"RIFF"), Some(b"AVI ")) => return Self::Foreign("an AVI video"),
            // All streams of a link begin on its first pages.
            (Some(b"OggS"), _) if start.get(5).is_some_and(|flags| flags & 2 == 0) => return Self::LaterPart,
            (Some(b"OggS"), _) => return Self::Ogg,
            (Some(b"caff"), _) => return Self::Caf,
            // A cluster, or a block of the first track within one: webm without its head.
            (
                Some([0x1f, 0x43, 0xb6, 0x75] | [0xa3, 0x40..=0x7f, _, 0x81] | [0xa3, 0x80..=0xff, 0x81, _]),
                _,
            ) => {
                return Self::LaterPart;
            }
            _ => {}
        }
        match start.get(4..8) {
            Some(b"ftyp" | b"moov" | b"wide" | b"mdat") => Self::Mp4,
            Some(b"moof" | b"styp" | b"sidx") => Self::LaterPart,
            _ => Self::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_told_by_their_first_bytes() {
        assert_eq!(Kind::of(b""), Kind::Empty);
        assert_eq!(Kind::of(b"RIFF\0\0\0\0WAVEfmt "), Kind::Wav);
        assert_eq!(Kind::of(b"RIFF\0\0\0\0AVI LIST"), Kind::Foreign("an AVI video"));
        assert_eq!(Kind::of(b"OggS\0\x02\0\0"), Kind::Ogg);
        assert_eq!(Kind::of(b"OggS\0\0\0\0"), Kind::LaterPart);
        assert_eq!(Kind::of(b"\xa3\x42\x1c\x81\x03\xc0"), Kind::LaterPart);
        assert_eq!(Kind::of(b"\0\0\0\x20ftypM4A "), Kind::Mp4);
        assert_eq!(Kind::of(b"\0\0\0\x20moof"), Kind::LaterPart);
        assert_eq!(Kind::of(b"fLaC"), Kind::Other);
        assert_eq!(Kind::of(b"x"), Kind::Other);
    }
}
