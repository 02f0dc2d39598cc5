//! ID3v2 tags in front of a file, of any size: a cover picture makes one of megabytes.
//!
//! Format: <https://id3.org/id3v2.4.0-structure>, sections 3.1 and 3.4.

use std::io;

use super::input::Ahead;

const HEAD: usize = 10;

/// Takes all tags at the front of `input`.
pub(super) fn skip(input: &mut Ahead) -> io::Result<()> {
    while let Some(length) = length(input.peek(HEAD)?) {
        input.skip(length)?;
    }
    Ok(())
}

/// Bytes of the tag that begins with `head`, footer included; none where none begins.
fn length(head: &[u8]) -> Option<u64> {
    let [b'I', b'D', b'3', major, minor, flags, size @ ..] = head.first_chunk::<HEAD>()? else {
        return None;
    };
    // The size leaves out the highest bit of each byte, so that it never looks like the start of a frame of MP3.
    if *major == 0xff || *minor == 0xff || size.iter().any(|byte| *byte > 0x7f) {
        return None;
    }
    let size = size.iter().fold(0, |size, byte| size << 7 | u64::from(*byte));
    let footer = if flags & 0x10 != 0 { HEAD as u64 } else { 0 };
    Some(HEAD as u64 + size + footer)
}

#[cfg(test)]
mod tests {
    use std::io::{Cursor, Read as _};

    use super::*;

    #[test]
    fn tags_of_any_size_are_passed_over_and_all_of_them() {
        let tag = |size: u32, flags: u8| {
            let mut out = vec![b'I', b'D', b'3', 4, 0, flags];
            out.extend([21, 14, 7, 0].map(|shift| (size >> shift & 127) as u8));
            out.extend(vec![0xff; size as usize]);
            out
        };
        let mut bytes = [tag(3_000_000, 0), tag(0, 0), tag(200, 0x10)].concat();
        bytes.extend(b"3DI\x04\0\x10\0\0\x01\x48then");
        let mut input = Ahead::new(Box::new(Cursor::new(bytes)));
        skip(&mut input).unwrap();
        let mut rest = String::new();
        input.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "then");
    }

    #[test]
    fn what_only_looks_like_a_tag_is_none() {
        assert_eq!(length(b"ID3\x03\0\0\x80\0\0\0"), None);
        assert_eq!(length(b"ID3\xff\0\0\0\0\0\0"), None);
        assert_eq!(length(b"ID3"), None);
    }
}
