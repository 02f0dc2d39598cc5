use std::io::Cursor;

use super::super::FileDecoder;
use super::super::tests::tone;
use super::*;

const VORBIS: &[u8] = include_bytes!("../../../../tests/audio/tone.ogg");
const OPUS: &[u8] = include_bytes!("../../../../tests/audio/tone.opus");
const FLAC: &[u8] = include_bytes!("../../../../tests/fixtures/audio/flac.oga");
const SURROUND: &[u8] = include_bytes!("../../../../tests/fixtures/audio/surround.opus");

fn decode(bytes: &[u8]) -> Result<Vec<f32>, FileError> {
    let mut decoder = FileDecoder::open(Cursor::new(bytes.to_vec()))?;
    let mut pcm = Vec::new();
    while decoder.next(&mut |samples| pcm.extend_from_slice(samples))? {}
    Ok(pcm)
}

#[test]
fn a_chain_is_as_long_as_its_links_whatever_their_codecs() {
    let alone = [VORBIS, OPUS, FLAC].map(|link| decode(link).unwrap());
    for links in [[0, 0, 0], [1, 1, 1], [2, 2, 2], [0, 1, 2], [2, 1, 0], [1, 2, 2]] {
        let chain = links.map(|link| [VORBIS, OPUS, FLAC][link]).concat();
        let expected: usize = links.iter().map(|link| alone[*link].len()).sum();
        let pcm = decode(&chain).unwrap_or_else(|e| panic!("{links:?}: {e}"));
        assert_eq!(pcm.len(), expected, "{links:?}");
        let mut from = 0;
        for link in links {
            let to = from + alone[link].len();
            // Where links meet, the filter of the rates hears both.
            assert!(
                tone(&pcm[from + 1_000..to - 1_000], 440.0).0 > 0.99,
                "{links:?}: {link}"
            );
            from = to;
        }
    }
}

#[test]
fn what_is_between_pages_is_passed_over() {
    let (whole, junk) = (decode(VORBIS).unwrap(), [b'x'; 10_000]);
    let pcm = decode(&[VORBIS, &junk, VORBIS].concat()).unwrap();
    assert_eq!(pcm.len(), 2 * whole.len());
}

#[test]
fn surround_is_mixed_to_one_channel() {
    let pcm = decode(SURROUND).unwrap();
    assert!((35_900..=36_480).contains(&pcm.len()), "{} samples", pcm.len());
    let (fit, amplitude) = tone(&pcm[4_800..31_200], 440.0);
    assert!(fit > 0.99, "{fit}");
    // The tone is on all six channels, less what the filter of the sixth takes.
    assert!((0.1..0.13).contains(&amplitude), "{amplitude}");
}

#[test]
fn other_layouts_of_opus_are_refused_by_name_and_not_as_damage() {
    let mut ambisonics = SURROUND.to_vec();
    let head = ambisonics.windows(8).position(|w| w == b"OpusHead").unwrap();
    ambisonics[head + 18] = 3;
    let crc = ogg::checksum(&ambisonics[..28 + 27]).to_le_bytes();
    ambisonics[22..26].copy_from_slice(&crc);
    let error = decode(&ambisonics).unwrap_err().to_string();
    assert!(
        error.contains("Opus with channel mapping family 3, which is not supported"),
        "{error}"
    );
}

#[test]
fn a_part_of_a_recording_says_what_is_missing() {
    let second = OPUS.windows(4).skip(1).position(|w| w == b"OggS").unwrap() + 1;
    assert!(matches!(decode(&OPUS[second..]), Err(FileError::LaterPart)));
}
