//! Cost of decoding client audio: one second of each form, in the chunks live clients send.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moshi_server::audio::decode::{Decoder, Meter};
use moshi_server::stream::input::{Encoding, PcmRate};

/// A tone of 1.5 s, stereo, 48 kHz, in packets of 20 ms.
const OPUS: &[u8] = include_bytes!("../tests/audio/tone.opus");

fn decode(encoding: Encoding, chunks: &[&[u8]]) -> f32 {
    let mut decoder = Decoder::default();
    let mut sum = 0.0;
    for chunk in chunks {
        let pushed = decoder.push(encoding, chunk, &mut |samples| sum += samples.iter().sum::<f32>());
        assert!(pushed.is_ok());
    }
    sum
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));

    let floats: Vec<u8> = [0.1f32; 24_000].iter().flat_map(|s| s.to_le_bytes()).collect();
    let chunks: Vec<&[u8]> = floats.chunks(4 * 480).collect();
    group.bench_function("f32, 1 s", |b| {
        b.iter(|| decode(Encoding::F32, black_box(&chunks)))
    });

    for hz in [8_000, 16_000, 24_000, 48_000] {
        let rate = PcmRate::new(hz).expect("a supported rate");
        let bytes = vec![7; hz as usize * 2];
        let chunks: Vec<&[u8]> = bytes.chunks(hz as usize / 25).collect();
        group.bench_function(BenchmarkId::new("pcm16, 1 s", hz), |b| {
            b.iter(|| decode(Encoding::Pcm16(rate), black_box(&chunks)))
        });
    }

    let chunks: Vec<&[u8]> = OPUS.chunks(200).collect();
    group.bench_function("ogg opus, 1.5 s", |b| {
        b.iter(|| decode(Encoding::OggOpus, black_box(&chunks)))
    });
    group.bench_function("ogg opus, 1.5 s, cost only", |b| {
        b.iter(|| {
            let mut meter = Meter::default();
            chunks
                .iter()
                .filter_map(|chunk| meter.cost(Encoding::OggOpus, black_box(chunk)).ok())
                .sum::<std::time::Duration>()
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
