use std::io::{self, Cursor, Read};

use super::*;

const FILES: [(&str, &[u8]); 9] = [
    ("wav", include_bytes!("../../../tests/audio/tone.wav")),
    ("flac", include_bytes!("../../../tests/audio/tone.flac")),
    ("mp3", include_bytes!("../../../tests/audio/tone.mp3")),
    ("ogg/vorbis", include_bytes!("../../../tests/audio/tone.ogg")),
    ("ogg/opus", include_bytes!("../../../tests/audio/tone.opus")),
    ("m4a, index last", include_bytes!("../../../tests/audio/tone.m4a")),
    (
        "m4a, index first",
        include_bytes!("../../../tests/audio/faststart.m4a"),
    ),
    ("aac", include_bytes!("../../../tests/audio/tone.aac")),
    ("webm/opus", include_bytes!("../../../tests/audio/tone.webm")),
];

const APPLE: [(&str, &[u8]); 5] = [
    ("aiff", include_bytes!("../../../tests/fixtures/audio/tone.aiff")),
    ("caf", include_bytes!("../../../tests/fixtures/audio/tone.caf")),
    (
        "alac in caf",
        include_bytes!("../../../tests/fixtures/audio/alac.caf"),
    ),
    (
        "alac in m4a",
        include_bytes!("../../../tests/fixtures/audio/alac.m4a"),
    ),
    (
        "opus in caf",
        include_bytes!("../../../tests/fixtures/audio/opus.caf"),
    ),
];

/// Gives its bytes in pieces of `size`, as a network would.
struct Trickle {
    bytes: Cursor<Vec<u8>>,
    size: usize,
}

impl Read for Trickle {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len().min(self.size);
        self.bytes.read(&mut buffer[..room])
    }
}

impl Input for Trickle {}

fn decode(bytes: &[u8], size: usize) -> Result<Vec<f32>, FileError> {
    let mut decoder = FileDecoder::open(Trickle {
        bytes: Cursor::new(bytes.to_vec()),
        size,
    })?;
    let mut pcm = Vec::new();
    while decoder.next(&mut |samples| pcm.extend_from_slice(samples))? {}
    Ok(pcm)
}

/// How well `pcm` fits a sine of `hz`, 0 to 1, and the sine's amplitude.
pub(super) fn tone(pcm: &[f32], hz: f32) -> (f32, f32) {
    let (mut cos, mut sin, mut power) = (0.0, 0.0, 0.0);
    for (i, sample) in pcm.iter().enumerate() {
        let angle = i as f32 * hz * std::f32::consts::TAU / 24_000.0;
        cos += sample * angle.cos();
        sin += sample * angle.sin();
        power += sample * sample;
    }
    let count = pcm.len() as f32;
    let amplitude = 2.0 * cos.hypot(sin) / count;
    (amplitude * amplitude / 2.0 / (power / count), amplitude)
}

#[test]
fn every_kind_holds_the_same_tone() {
    for (kind, bytes) in FILES {
        let pcm = decode(bytes, usize::MAX).unwrap_or_else(|e| panic!("{kind}: {e}"));
        // Lossy kinds may be padded by a packet or two; 1.5 s is 36,000 samples.
        assert!(
            (35_900..=38_500).contains(&pcm.len()),
            "{kind}: {} samples",
            pcm.len()
        );
        let (fit, amplitude) = tone(&pcm[4_800..31_200], 440.0);
        assert!(fit > 0.99, "{kind}: {fit} of the power is at 440 Hz");
        assert!((amplitude - 0.125).abs() < 0.01, "{kind}: amplitude {amplitude}");
    }
}

#[test]
fn a_slow_reader_gives_the_same_samples() {
    for (kind, bytes) in FILES {
        assert_eq!(
            decode(bytes, usize::MAX).unwrap(),
            decode(bytes, 97).unwrap(),
            "{kind}"
        );
    }
}

#[test]
fn a_file_cut_short_gives_what_is_there() {
    for (kind, bytes) in FILES.iter().filter(|(kind, _)| !kind.starts_with("m4a")) {
        let pcm = decode(&bytes[..bytes.len() * 2 / 3], 4_096).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(
            (9_000..36_000).contains(&pcm.len()),
            "{kind}: {} samples",
            pcm.len()
        );
    }
}

#[test]
fn deep_and_fast_samples_are_converted() {
    let pcm = decode(include_bytes!("../../../tests/audio/deep.wav"), 1_000).unwrap();
    assert_eq!(pcm.len(), 7_200);
    assert!(tone(&pcm[1_000..6_000], 440.0).0 > 0.99);
}

#[test]
fn a_wav_of_unknown_length_is_read_to_its_end() {
    let mut bytes = FILES[0].1.to_vec();
    let data = bytes.windows(4).position(|w| w == b"data").unwrap();
    bytes[4..8].fill(0xff);
    bytes[data + 4..data + 8].fill(0xff);
    assert_eq!(decode(&bytes, 4_096).unwrap().len(), 36_000);
}

#[test]
fn what_is_no_audio_says_so() {
    assert!(matches!(decode(b"", 1), Err(FileError::Empty)));
    assert!(matches!(decode(&[b'x'; 10_000], 4_096), Err(FileError::Unknown)));
    let mut headers_only = FILES[0].1[..100].to_vec();
    let data = headers_only.windows(4).position(|w| w == b"data").unwrap();
    headers_only.truncate(data + 8);
    assert!(matches!(decode(&headers_only, 4_096), Err(FileError::NoAudio)));
}

#[test]
fn kinds_that_are_not_read_are_named() {
    let error = decode(b"#!AMR\n and so on", 64).unwrap_err().to_string();
    assert!(
        error.starts_with("this is an AMR recording, which is not supported: convert it"),
        "{error}"
    );
}

#[test]
fn tags_in_front_of_a_file_do_not_hide_it() {
    // A cover picture of three megabytes, and a second tag behind it.
    for (kind, bytes) in FILES
        .iter()
        .filter(|(kind, _)| ["mp3", "aac", "flac", "wav"].contains(kind))
    {
        let size = (1u32 << 21) + (0x40 << 14);
        let tag = [&b"ID3\x04\0\0\x01\x40\0\0"[..], &vec![0xff; size as usize]].concat();
        let tagged = [&tag[..], b"ID3\x03\0\0\0\0\0\x01\0", bytes].concat();
        assert_eq!(
            decode(&tagged, usize::MAX).unwrap(),
            decode(bytes, usize::MAX).unwrap(),
            "{kind}"
        );
    }
}

#[test]
fn parts_of_recordings_say_what_is_missing() {
    let webm = FILES[8].1;
    let cluster = webm.windows(4).position(|w| w == b"\x1f\x43\xb6\x75").unwrap();
    assert!(matches!(
        decode(&webm[cluster..], 4_096),
        Err(FileError::LaterPart)
    ));
    assert!(matches!(
        decode(b"\0\0\0\x10moof\0\0\0\0", 64),
        Err(FileError::LaterPart)
    ));
}

#[test]
fn apples_kinds_of_files_are_heard() {
    for (kind, bytes) in APPLE {
        let pcm = decode(bytes, 4_096).unwrap_or_else(|e| panic!("{kind}: {e}"));
        assert!(
            (18_000..=36_480).contains(&pcm.len()),
            "{kind}: {} samples",
            pcm.len()
        );
        assert!(tone(&pcm[4_800..16_800], 440.0).0 > 0.99, "{kind}");
    }
}

#[test]
fn a_failed_read_is_told_from_a_bad_file() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from(io::ErrorKind::ConnectionReset))
        }
    }
    struct Half(io::Chain<Cursor<Vec<u8>>, Broken>);
    impl Read for Half {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.0.read(to)
        }
    }
    impl Input for Half {}
    for (kind, bytes) in FILES {
        let broken = Half(Cursor::new(bytes[..bytes.len() / 2].to_vec()).chain(Broken));
        let result = FileDecoder::open(broken).and_then(|mut file| {
            while file.next(&mut |_| ())? {}
            Ok(())
        });
        assert!(matches!(result, Err(FileError::Read(_))), "{kind}: {result:?}");
    }
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]
    #[test]
    fn damage_is_never_a_panic(file in 0..FILES.len(), flips in proptest::collection::vec((0usize.., 1u8..), 1..20)) {
        let mut bytes = FILES[file].1.to_vec();
        let length = bytes.len();
        for (at, flip) in flips {
            bytes[at % length] ^= flip;
        }
        let _ = decode(&bytes, 4_096);
    }
}
