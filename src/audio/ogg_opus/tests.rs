use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use proptest::prelude::*;

use super::*;
use crate::audio::opus::Application;
use crate::audio::opus::testing::{encode, tone};

/// Fields of a stream's headers and packing.
struct Layout {
    serial: u32,
    pre_skip: u16,
    gain: i16,
    channels: u8,
    packets_per_page: usize,
    /// Samples at 48 kHz by which the stated end is short of what the packets hold.
    trim: u64,
}

const PLAIN: Layout = Layout {
    serial: 42,
    pre_skip: 0,
    gain: 0,
    channels: 1,
    packets_per_page: 2,
    trim: 0,
};

fn head(layout: &Layout) -> Vec<u8> {
    let mut head = b"OpusHead\x01".to_vec();
    head.push(layout.channels);
    head.extend(layout.pre_skip.to_le_bytes());
    head.extend(48_000u32.to_le_bytes());
    head.extend(layout.gain.to_le_bytes());
    head.push(0);
    head
}

/// Writes a stream with the `ogg` crate, so that reader and writer share no code.
fn write(layout: &Layout, packets: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut writer = PacketWriter::new(&mut bytes);
    let page = PacketWriteEndInfo::EndPage;
    writer.write_packet(head(layout), layout.serial, page, 0).unwrap();
    let tags = b"OpusTags\x04\0\0\0test\0\0\0\0".to_vec();
    writer.write_packet(tags, layout.serial, page, 0).unwrap();
    let mut granule = 0;
    for (index, packet) in packets.iter().enumerate() {
        granule += opus::packet_samples(packet).unwrap() as u64 * 2;
        let (info, stated) = if index + 1 == packets.len() {
            (PacketWriteEndInfo::EndStream, granule - layout.trim)
        } else if (index + 1) % layout.packets_per_page == 0 {
            (page, granule)
        } else {
            (PacketWriteEndInfo::NormalPacket, granule)
        };
        writer
            .write_packet(packet.clone(), layout.serial, info, stated)
            .unwrap();
    }
    drop(writer);
    bytes
}

fn decode(parts: &[&[u8]]) -> Result<Vec<f32>, OggOpusError> {
    let mut decoder = OggOpus::default();
    let mut pcm = Vec::new();
    for part in parts {
        decoder.push(part, &mut |samples| pcm.extend_from_slice(samples))?;
    }
    Ok(pcm)
}

fn packets(frame: usize, samples: usize) -> Vec<Vec<u8>> {
    encode(&tone(samples, 1), 1, frame, Application::Audio)
}

#[test]
fn all_packet_lengths_and_page_sizes_decode_in_one_message() {
    for frame in [60, 120, 240, 480, 960, 1440, 1920, 2880] {
        for packets_per_page in [1, 3, 10] {
            let bytes = write(
                &Layout {
                    packets_per_page,
                    ..PLAIN
                },
                &packets(frame, 28_800),
            );
            assert_eq!(
                decode(&[&bytes]).unwrap().len(),
                28_800,
                "{frame} {packets_per_page}"
            );
        }
    }
}

#[test]
fn pre_skip_gain_and_end_are_kept() {
    let packets = packets(480, 24_000);
    let whole = decode(&[&write(&PLAIN, &packets)]).unwrap();
    let skipped = decode(&[&write(
        &Layout {
            pre_skip: 3_840,
            ..PLAIN
        },
        &packets,
    )])
    .unwrap();
    assert_eq!(skipped, whole[1_920..]);
    let ended = decode(&[&write(&Layout { trim: 600, ..PLAIN }, &packets)]).unwrap();
    assert_eq!(ended, whole[..24_000 - 300]);
    let louder = decode(&[&write(&Layout { gain: 1_541, ..PLAIN }, &packets)]).unwrap();
    let ratio = louder[5_000] / whole[5_000];
    assert!(
        (ratio - 2.0).abs() < 0.01,
        "6.02 dB is twice the level, got {ratio}"
    );
}

#[test]
fn a_stream_can_follow_another_even_with_its_serial_number() {
    let one = write(&PLAIN, &packets(480, 9_600));
    for serial in [42, 7] {
        let two = write(
            &Layout {
                serial,
                pre_skip: 960,
                ..PLAIN
            },
            &packets(960, 19_200),
        );
        assert_eq!(decode(&[&one, &two]).unwrap().len(), 9_600 + 19_200 - 480);
    }
}

#[test]
fn stereo_streams_are_mixed_and_channels_without_a_layout_are_refused() {
    let stereo = encode(&tone(9_600, 2), 2, 480, Application::Audio);
    let bytes = write(&Layout { channels: 2, ..PLAIN }, &stereo);
    assert_eq!(decode(&[&bytes]).unwrap().len(), 9_600);
    let surround = write(&Layout { channels: 6, ..PLAIN }, &stereo);
    assert_eq!(decode(&[&surround]), Err(OggOpusError::Header));
}

#[test]
fn other_streams_in_between_are_passed_over() {
    let opus = write(&PLAIN, &packets(480, 9_600));
    let mut other = Vec::new();
    let mut writer = PacketWriter::new(&mut other);
    let end = PacketWriteEndInfo::EndPage;
    writer.write_packet(&b"\x80theora"[..], 9, end, 0).unwrap();
    writer.write_packet(&b"picture"[..], 9, end, 0).unwrap();
    drop(writer);
    assert_eq!(
        decode(&[&other, &opus, &other[other.len() / 2..other.len() / 2]])
            .unwrap()
            .len(),
        9_600
    );
}

#[test]
fn tags_with_pictures_do_not_grow_memory() {
    let mut bytes = Vec::new();
    let mut writer = PacketWriter::new(&mut bytes);
    let end = PacketWriteEndInfo::EndPage;
    let mut tags = b"OpusTags".to_vec();
    tags.resize(3 << 20, 1);
    writer.write_packet(head(&PLAIN), 42, end, 0).unwrap();
    writer.write_packet(tags, 42, end, 0).unwrap();
    for packet in packets(480, 4_800) {
        writer.write_packet(packet, 42, end, 0).unwrap();
    }
    drop(writer);
    let parts: Vec<&[u8]> = bytes.chunks(1_000).collect();
    assert_eq!(decode(&parts).unwrap().len(), 4_800);
}

#[test]
fn each_kind_of_damage_has_its_error() {
    let good = write(&PLAIN, &packets(480, 4_800));
    assert_eq!(decode(&[b"RIFF...."]), Err(OggError::NotOgg.into()));
    let mut version = good.clone();
    version[4] = 1;
    assert_eq!(decode(&[&version]), Err(OggError::Version(1).into()));
    let mut damaged = good.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    assert_eq!(decode(&[&damaged]), Err(OggError::Checksum.into()));
    let bad_packet = write(&PLAIN, &[packets(480, 480).remove(0)]);
    assert_eq!(decode(&[&bad_packet]).unwrap().len(), 480);
    let headless = &good[good.windows(4).rposition(|w| w == b"OggS").unwrap()..];
    assert_eq!(
        decode(&[headless]),
        Ok(Vec::new()),
        "pages of a stream that never began hold nothing for us"
    );
}

#[test]
fn the_meter_counts_what_the_decoder_gives() {
    let bytes = write(
        &Layout {
            pre_skip: 3_840,
            ..PLAIN
        },
        &packets(960, 24_000),
    );
    let mut meter = OggMeter::default();
    let samples: u64 = bytes.chunks(100).map(|part| meter.push(part).unwrap()).sum();
    assert_eq!(samples as usize, decode(&[&bytes]).unwrap().len() + 1_920);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_cut_gives_the_same_samples(sizes in proptest::collection::vec(1usize..4_000, 1..40), per_page in 1usize..8) {
        let bytes = write(&Layout { packets_per_page: per_page, pre_skip: 312, ..PLAIN }, &packets(480, 12_000));
        let mut parts = Vec::new();
        let mut rest = bytes.as_slice();
        for size in sizes {
            let (head, tail) = rest.split_at(size.min(rest.len()));
            parts.push(head);
            rest = tail;
        }
        parts.push(rest);
        prop_assert_eq!(decode(&[&bytes]), decode(&parts));
    }

    #[test]
    fn garbage_is_an_error_or_nothing(bytes: Vec<u8>) {
        let _ = decode(&[&bytes]);
    }

    #[test]
    fn damage_is_never_a_panic(at in 0usize..10_000, flip in 1u8.., cut in 0usize..10_000) {
        let mut bytes = write(&PLAIN, &packets(480, 4_800));
        let length = bytes.len();
        bytes[at % length] ^= flip;
        let (head, tail) = bytes.split_at(cut % length);
        let _ = decode(&[head, tail]);
        let mut meter = OggMeter::default();
        let _ = meter.push(&bytes);
    }
}
