use std::io::Cursor;

use super::super::FileDecoder;
use super::super::tests::tone;
use super::*;

/// Samples in each file here.
const COUNT: usize = 12_000;

fn decode(bytes: Vec<u8>) -> Result<Vec<f32>, FileError> {
    let mut decoder = FileDecoder::open(Cursor::new(bytes))?;
    let mut pcm = Vec::new();
    while decoder.next(&mut |samples| pcm.extend_from_slice(samples))? {}
    Ok(pcm)
}

fn samples() -> Vec<u8> {
    let at = |i: usize| (i as f32 * 440.0 * std::f32::consts::TAU / 24_000.0).sin() * 8000.0;
    (0..COUNT).flat_map(|i| (at(i) as i16).to_le_bytes()).collect()
}

fn part(name: &[u8; 4], size: u32, body: &[u8]) -> Vec<u8> {
    [name, &size.to_le_bytes()[..], body].concat()
}

fn chunk_of(name: &[u8; 4], body: &[u8]) -> Vec<u8> {
    part(name, body.len() as u32, body)
}

/// A format chunk for 16-bit mono at 24 kHz, under `tag`.
fn format(tag: u16) -> Vec<u8> {
    let mut body = tag.to_le_bytes().to_vec();
    body.extend(1u16.to_le_bytes());
    body.extend(24_000u32.to_le_bytes());
    body.extend(48_000u32.to_le_bytes());
    body.extend([2, 0, 16, 0]);
    chunk_of(b"fmt ", &body)
}

/// A file of `parts`, with `size` in its head.
fn riff(size: u32, parts: &[&[u8]]) -> Vec<u8> {
    part(b"RIFF", size, &[b"WAVE", &parts.concat()[..]].concat())
}

/// The file as it should be: what `size` and `data_size` replace is the length of all, and of the samples.
fn wav(size: Option<u32>, data_size: Option<u32>) -> Vec<u8> {
    let data = samples();
    let data_size = data_size.unwrap_or(data.len() as u32);
    riff(
        size.unwrap_or(36 + data.len() as u32),
        &[&format(1), &part(b"data", data_size, &data)],
    )
}

/// All samples were heard, and nothing else.
fn is_whole(name: &str, bytes: Vec<u8>) {
    let pcm = decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    assert_eq!(pcm.len(), COUNT, "{name}");
    assert!(tone(&pcm, 440.0).0 > 0.999, "{name}");
}

#[test]
fn sizes_that_were_never_written_or_are_wrong_lose_nothing() {
    let all = 2 * COUNT as u32;
    for (name, size, data_size) in [
        ("as it should be", None, None),
        ("never finished", Some(0), Some(0)),
        ("finished but for its data", None, Some(0)),
        ("a pipe's", Some(u32::MAX), Some(u32::MAX)),
        ("another pipe's", Some(0x7fff_f024), Some(0x7fff_f000)),
        ("and another's", Some(0x8000_0024), Some(0x8000_0000)),
        ("eight too small in all", Some(28 + all), None),
        ("the head's own", Some(36), Some(0)),
        ("the head's own, with data", Some(36), None),
        ("half of the data", None, Some(all / 2)),
        ("twice the data", Some(36 + 2 * all), Some(2 * all)),
    ] {
        is_whole(name, wav(size, data_size));
    }
}

#[test]
fn chunks_around_the_samples_are_not_heard() {
    let data = chunk_of(b"data", &samples());
    // An item of odd length without the byte behind it, and a list of odd length with and without.
    let item = chunk_of(b"INAM", b"abc");
    let list = chunk_of(b"LIST", &[b"INFO", &item[..]].concat());
    let padded = [&list[..], b"\0"].concat();
    let wide = chunk_of(b"bext", &[0; 602]);
    for (name, parts) in [
        ("an odd list before", vec![&format(1), &list, &data]),
        ("a padded one before", vec![&format(1), &padded, &data]),
        ("in front of the format", vec![&wide, &format(1), &data]),
        ("behind", vec![&format(1), &data, &list]),
        ("around", vec![&list, &format(1), &wide, &data, &list]),
    ] {
        let parts: Vec<&[u8]> = parts.iter().map(|part| &part[..]).collect();
        is_whole(name, riff(0, &parts));
    }
    let empty = riff(0, &[&format(1), &part(b"data", 0, b""), &list]);
    assert!(matches!(decode(empty), Err(FileError::NoAudio)));
}

#[test]
fn formats_are_taken_in_every_length() {
    let data = chunk_of(b"data", &samples());
    let short = &format(1)[8..];
    // WAVEFORMATEXTENSIBLE with a map of loudspeakers for eight channels.
    let mut extensible = short.to_vec();
    extensible[..2].copy_from_slice(&0xfffeu16.to_le_bytes());
    extensible.extend(b"\x16\0\x10\0\xff\0\0\0\x01\0\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
    for (name, body) in [
        ("plain", short.to_vec()),
        ("with an empty extension", [short, b"\0\0"].concat()),
        ("with an odd one", [short, b"\x04\0abcd"].concat()),
        ("extensible", extensible),
    ] {
        is_whole(name, riff(0, &[&chunk_of(b"fmt ", &body), &data]));
    }
    // Telephone: mu-law, whose 0xff is silence, without the extension that only some writers write.
    let mut law = format(7)[8..].to_vec();
    law[14..16].copy_from_slice(&8u16.to_le_bytes());
    let law = riff(0, &[&chunk_of(b"fmt ", &law), &chunk_of(b"data", &[0xff; 2400])]);
    assert_eq!(decode(law).unwrap(), vec![0.0; 2400]);
}

#[test]
fn more_than_four_gigabytes_have_their_length_elsewhere() {
    let data = samples();
    let mut ds64 = (1u64 << 33).to_le_bytes().to_vec();
    ds64.extend((data.len() as u64).to_le_bytes());
    ds64.extend([0; 12]);
    for name in [b"RF64", b"BW64"] {
        let parts = [
            &chunk_of(b"ds64", &ds64)[..],
            &format(1),
            &part(b"data", u32::MAX, &data),
            &chunk_of(b"LIST", b"INFOISFT\x04\0\0\0abc\0"),
        ];
        let file = part(name, u32::MAX, &[b"WAVE", &parts.concat()[..]].concat());
        let length = FileDecoder::open(Cursor::new(file.clone())).unwrap().length();
        assert_eq!(length, Some(Duration::from_millis(500)));
        is_whole("rf64", file);
    }
}

#[test]
fn a_codec_that_is_not_supported_is_named() {
    for (tag, name) in [
        (0x31, "GSM 06.10"),
        (0x45, "G.726 ADPCM"),
        (0x1234, "the codec 0x1234"),
    ] {
        let bytes = riff(0, &[&format(tag), &chunk_of(b"data", &[0; 4000])]);
        let error = decode(bytes).unwrap_err();
        let words =
            format!("this WAV holds {name}, which is not supported: convert it to wav, flac, mp3 or opus");
        assert_eq!(error.to_string(), words);
    }
}

#[test]
fn mp3_in_a_wav_is_heard() {
    let mp3 = include_bytes!("../../../../tests/audio/tone.mp3");
    let pcm = decode(riff(0, &[&format(0x55), &chunk_of(b"data", mp3)])).unwrap();
    assert!(tone(&pcm[4_800..31_200], 440.0).0 > 0.99);
}
