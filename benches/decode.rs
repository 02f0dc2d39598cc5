//! Cost of decoding client audio: one second of each form, in the chunks live clients send.

use std::hint::black_box;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moshi_server::pipeline::decode::{Chunk, Decoder, Meter, Pcm16Rate};

/// A tone of 1.5 s, stereo, 48 kHz, in packets of 20 ms.
const OPUS: &[u8] = include_bytes!("../tests/audio/tone.opus");

fn decode(chunks: &[Chunk<'_>], rate: Pcm16Rate) -> f32 {
    let mut decoder = Decoder::new(rate);
    let mut sum = 0.0;
    for chunk in chunks {
        let pushed = decoder.push(*chunk, &mut |samples| sum += samples.iter().sum::<f32>());
        assert!(pushed.is_ok());
    }
    sum
}

fn benches(c: &mut Criterion) {
    let mut group = c.benchmark_group("decode");
    group.throughput(Throughput::Elements(1));

    let floats = vec![0.1; 24_000];
    let chunks: Vec<Chunk<'_>> = floats.chunks(480).map(Chunk::F32).collect();
    group.bench_function("f32, 1 s", |b| {
        b.iter(|| decode(black_box(&chunks), Pcm16Rate::default()))
    });

    for hz in [8_000, 16_000, 24_000, 48_000] {
        let rate = Pcm16Rate::new(hz).expect("a supported rate");
        let bytes = vec![7; hz as usize * 2];
        let chunks: Vec<Chunk<'_>> = bytes.chunks(hz as usize / 25).map(Chunk::Pcm16).collect();
        group.bench_function(BenchmarkId::new("pcm16, 1 s", hz), |b| {
            b.iter(|| decode(black_box(&chunks), rate))
        });
    }

    let chunks: Vec<Chunk<'_>> = OPUS.chunks(200).map(Chunk::Ogg).collect();
    group.bench_function("ogg opus, 1.5 s", |b| {
        b.iter(|| decode(black_box(&chunks), Pcm16Rate::default()))
    });
    group.bench_function("ogg opus, 1.5 s, cost only", |b| {
        b.iter(|| {
            let mut meter = Meter::default();
            chunks
                .iter()
                .filter_map(|chunk| meter.cost(*black_box(chunk)).ok())
                .sum::<std::time::Duration>()
        });
    });
    group.finish();
}

criterion_group!(all, benches);
criterion_main!(all);
