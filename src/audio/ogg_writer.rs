//! Opus packets to an Ogg byte stream (RFC 7845), as recorders in browsers write it: what a client sends, and what it is sent.

use crate::audio::ogg::checksum;
use crate::audio::opus::packet_samples;

/// Segments a page can have.
const SEGMENTS: usize = 255;

/// What the header of a stream says (RFC 7845, section 5).
pub struct OpusHead {
    /// Samples at 48 kHz that a player drops at the start.
    pub pre_skip: u16,
    /// Rate of what was encoded, in Hz; for people.
    pub input_rate: u32,
    pub vendor: &'static str,
}

impl OpusHead {
    /// That of a recording client. No samples are to be skipped at the start: whole packets stay whole frames, and what is
    /// heard is 6.5 ms late.
    pub const CLIENT: Self = Self {
        pre_skip: 0,
        input_rate: 24_000,
        vendor: "moshi-server",
    };
    /// That of Kyutai's server.
    pub const KYUTAI: Self = Self {
        pre_skip: 3840,
        input_rate: 48_000,
        vendor: "KyutaiMoshi",
    };
}

/// Writes one mono stream at 24 kHz.
pub struct OggOpusWriter {
    serial: u32,
    sequence: u32,
    /// Samples at 48 kHz so far.
    granule: u64,
}

impl OggOpusWriter {
    #[must_use]
    pub fn new(serial: u32) -> Self {
        Self {
            serial,
            sequence: 0,
            granule: 0,
        }
    }

    /// The two header pages.
    pub fn headers(&mut self, header: &OpusHead) -> Vec<u8> {
        let mut head = b"OpusHead\x01\x01".to_vec();
        head.extend(header.pre_skip.to_le_bytes());
        head.extend(header.input_rate.to_le_bytes());
        head.extend([0; 3]);
        let mut tags = b"OpusTags".to_vec();
        tags.extend((header.vendor.len() as u32).to_le_bytes());
        tags.extend(header.vendor.as_bytes());
        tags.extend([0; 4]);
        let mut out = Vec::new();
        for (flags, packet) in [(2, &head[..]), (0, &tags[..])] {
            self.page(flags, &lacing(packet), packet, &mut out);
        }
        out
    }

    /// The pages of `packets`: one, unless they are too many for it.
    pub fn packets<'a>(&mut self, packets: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
        let (mut laces, mut body, mut out) = (Vec::new(), Vec::new(), Vec::new());
        for packet in packets {
            let lace = lacing(packet);
            if laces.len() + lace.len() > SEGMENTS {
                self.page(0, &laces, &body, &mut out);
                laces.clear();
                body.clear();
            }
            self.granule += 2 * packet_samples(packet).unwrap_or(0) as u64;
            laces.extend(lace);
            body.extend_from_slice(packet);
        }
        if !laces.is_empty() {
            self.page(0, &laces, &body, &mut out);
        }
        out
    }

    fn page(&mut self, flags: u8, laces: &[u8], body: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        out.extend(b"OggS\0");
        out.push(flags);
        out.extend(self.granule.to_le_bytes());
        out.extend(self.serial.to_le_bytes());
        out.extend(self.sequence.to_le_bytes());
        out.extend([0; 4]);
        out.push(laces.len() as u8);
        out.extend(laces);
        out.extend(body);
        let sum = checksum(&out[start..]).to_le_bytes();
        out[start + 22..start + 26].copy_from_slice(&sum);
        self.sequence += 1;
    }
}

/// Lengths of the segments of a packet: 255 each, and a shorter one that ends it.
fn lacing(packet: &[u8]) -> Vec<u8> {
    let mut laces = vec![255; packet.len() / 255];
    laces.push((packet.len() % 255) as u8);
    laces
}

#[cfg(test)]
mod tests {
    use ogg::reading::PacketReader;

    use super::*;
    use crate::audio::ogg_opus::OggOpus;
    use crate::audio::opus::Application;
    use crate::audio::opus::testing::{encode, tone};

    #[test]
    fn another_reader_finds_the_packets_and_their_times() {
        let packets = encode(&tone(480 * 300, 1), 1, 480, Application::Voice);
        let mut writer = OggOpusWriter::new(7);
        let mut bytes = writer.headers(&OpusHead::CLIENT);
        // More than a page can hold at once, then one by one.
        let (many, few) = packets.split_at(290);
        bytes.extend(writer.packets(many.iter().map(Vec::as_slice)));
        for packet in few {
            bytes.extend(writer.packets([packet.as_slice()]));
        }
        let mut reader = PacketReader::new(std::io::Cursor::new(&bytes));
        assert!(
            reader
                .read_packet_expected()
                .unwrap()
                .data
                .starts_with(b"OpusHead")
        );
        assert!(
            reader
                .read_packet_expected()
                .unwrap()
                .data
                .starts_with(b"OpusTags")
        );
        let mut last = 0;
        for packet in &packets {
            let read = reader.read_packet_expected().unwrap();
            assert_eq!((&read.data, read.stream_serial()), (packet, 7));
            last = read.absgp_page();
        }
        assert_eq!(last, 300 * 960, "20 ms a packet at 48 kHz");
        assert!(reader.read_packet().unwrap().is_none());
    }

    #[test]
    fn the_server_hears_every_sample() {
        let packets = encode(&tone(480 * 10, 1), 1, 480, Application::Voice);
        let mut writer = OggOpusWriter::new(1);
        let mut bytes = writer.headers(&OpusHead::CLIENT);
        bytes.extend(writer.packets(packets.iter().map(Vec::as_slice)));
        let mut heard = 0;
        OggOpus::default()
            .push(&bytes, &mut |samples| heard += samples.len())
            .unwrap();
        assert_eq!(heard, 4800);
    }
}
