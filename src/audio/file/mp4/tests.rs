use std::io::Cursor;

use super::super::FileDecoder;
use super::super::tests::tone;
use super::*;

const OPUS: &[u8] = include_bytes!("../../../../tests/fixtures/audio/opus.mp4");
const FRAGMENTED: &[u8] = include_bytes!("../../../../tests/fixtures/audio/opus-fragmented.mp4");
const DELAYED: &[u8] = include_bytes!("../../../../tests/fixtures/audio/delayed.mp4");
const AAC: &[u8] = include_bytes!("../../../../tests/audio/faststart.m4a");
const AC3: &[u8] = include_bytes!("../../../../tests/fixtures/audio/ac3.mp4");

fn decode(bytes: &[u8]) -> Result<Vec<f32>, FileError> {
    let mut decoder = FileDecoder::open(Cursor::new(bytes.to_vec()))?;
    let mut pcm = Vec::new();
    while decoder.next(&mut |samples| pcm.extend_from_slice(samples))? {}
    Ok(pcm)
}

/// How many samples the tone of 440 Hz in `pcm` is late, within one of its turns, which is 54 samples.
fn late(pcm: &[f32]) -> f32 {
    let (mut cos, mut sin) = (0.0f64, 0.0f64);
    for (i, sample) in pcm.iter().enumerate().take(31_200).skip(4_800) {
        let angle = i as f64 * 440.0 * std::f64::consts::TAU / 24_000.0;
        cos += f64::from(*sample) * angle.cos();
        sin += f64::from(*sample) * angle.sin();
    }
    (-cos.atan2(sin) / std::f64::consts::TAU * 24_000.0 / 440.0) as f32
}

#[test]
fn opus_begins_where_the_file_says() {
    for (name, bytes) in [("one piece", OPUS), ("fragments", FRAGMENTED)] {
        let pcm = decode(bytes).unwrap();
        // 1.5 s and the rest of the last packet of 20 ms.
        assert!(
            (36_000..36_480).contains(&pcm.len()),
            "{name}: {} samples",
            pcm.len()
        );
        assert!(late(&pcm).abs() < 2.0, "{name}: {} samples late", late(&pcm));
        assert!(tone(&pcm[4_800..31_200], 440.0).0 > 0.99, "{name}");
    }
}

#[test]
fn the_gain_of_opus_is_read_in_the_order_of_its_bytes() {
    let mut louder = OPUS.to_vec();
    let dops = louder.windows(4).position(|w| w == b"dOps").unwrap();
    // 6.02 dB in 256ths, after version, channels, pre-skip and rate.
    louder[dops + 12..dops + 14].copy_from_slice(&1541i16.to_be_bytes());
    let (plain, louder) = (decode(OPUS).unwrap(), decode(&louder).unwrap());
    let ratio = tone(&louder[4_800..31_200], 440.0).1 / tone(&plain[4_800..31_200], 440.0).1;
    assert!((ratio - 2.0).abs() < 0.01, "{ratio}");
}

#[test]
fn what_an_encoder_put_in_front_is_not_heard() {
    let pcm = decode(AAC).unwrap();
    assert!(late(&pcm).abs() < 2.0, "{} samples late", late(&pcm));
}

#[test]
fn an_edit_list_says_where_to_begin() {
    let mut cut = AAC.to_vec();
    let elst = cut.windows(4).position(|w| w == b"elst").unwrap();
    // Kind, version and flags, number of entries, duration: then the place in the media, in samples at 44.1 kHz.
    let media_time = &mut cut[elst + 16..elst + 20];
    assert_eq!(media_time, 1024u32.to_be_bytes());
    media_time.copy_from_slice(&(1024u32 + 22_050).to_be_bytes());
    let (whole, cut) = (decode(AAC).unwrap(), decode(&cut).unwrap());
    assert_eq!(cut.len() + 12_000, whole.len());
}

#[test]
fn audio_that_begins_later_is_heard_later() {
    let pcm = decode(DELAYED).unwrap();
    // Half a second, less the 6.5 ms that the encoder put in front.
    let heard = pcm.iter().position(|sample| sample.abs() > 0.02).unwrap();
    assert!((11_832..12_000).contains(&heard), "heard at {heard}");
    assert!(pcm[..11_832].iter().all(|sample| *sample == 0.0));
}

#[test]
fn edit_lists_have_a_long_and_a_short_form() {
    let short = [
        &[0, 0, 0, 0, 0, 0, 0, 2][..],
        &[0, 0, 1, 244, 255, 255, 255, 255, 0, 1, 0, 0],
        &[0, 0, 16, 0, 0, 0, 96, 0, 0, 1, 0, 0],
    ];
    let start = Start {
        delay: Duration::from_millis(500),
        skip: Duration::from_millis(512),
    };
    assert_eq!(start_of(&short.concat(), 1000, 48_000), start);
    let mut long = vec![1, 0, 0, 0, 0, 0, 0, 2];
    for (duration, time) in [(500u64, -1i64), (4096, 24_576)] {
        long.extend(duration.to_be_bytes());
        long.extend(time.to_be_bytes());
        long.extend([0, 1, 0, 0]);
    }
    assert_eq!(start_of(&long, 1000, 48_000), start);
    assert_eq!(start_of(&[], 1000, 48_000), Start::default());
    assert_eq!(start_of(&[0; 9], 0, 0), Start::default());
}

#[test]
fn a_codec_that_is_not_supported_is_named() {
    let error = decode(AC3).unwrap_err().to_string();
    assert!(
        error.starts_with("this mp4 holds AC-3, which is not supported"),
        "{error}"
    );
}

proptest::proptest! {
    #[test]
    fn no_movie_is_a_panic(moov: Vec<u8>, flips in proptest::collection::vec((0usize..700, 0u8..), 0..9)) {
        let _ = Movie::parse(&moov);
        let at = AAC.windows(4).position(|w| w == b"moov").unwrap() + 4;
        let mut moov = AAC[at..at + 700].to_vec();
        for (at, byte) in flips {
            moov[at] = byte;
        }
        let _ = Movie::parse(&moov);
    }
}
