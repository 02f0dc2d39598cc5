//! What one model step costs: codec and language model together, by active rows; and Mimi's decoder by itself.
//!
//! `cargo bench --bench step` runs the scaled-down shape; `-- stt-1b` and `-- stt-2.6b` add the true ones (random weights
//! of 2 and 5 GB), `-- decoder` runs the decoder alone. With `MOSHI_BENCH_FULL=1` every ring is filled before the clock starts: a stream's cost once it is old.

mod support;

use std::time::{Duration, Instant};

use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use moshi_server::model::codec::CodecDecoder;
use moshi_server::model::device::Device;
use moshi_server::model::{LoadOptions, Part, StepIo, StepOutput, load};
use moshi_server::stream::frame::FRAME_SAMPLES;
use moshi_server::stream::ids::RowId;

fn step(c: &mut Criterion) {
    let wanted: Vec<String> = std::env::args().collect();
    let big = |name: &str| wanted.iter().any(|a| a == name);
    let full = std::env::var_os("MOSHI_BENCH_FULL").is_some();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let bandwidth = support::read_bandwidth(threads);
    println!(
        "memory is read at {:.1} GB/s by {threads} threads",
        bandwidth / 1e9
    );
    for size in [support::SMALL, support::STT_1B, support::STT_2_6B] {
        if size.dim > 1000 && !big(size.name) {
            continue;
        }
        let dir = std::env::temp_dir().join(format!("moshi-bench-{}", size.name));
        let mut group = c.benchmark_group(size.name);
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(500))
            .measurement_time(Duration::from_secs(4));
        // weights, and keys and values where they are not f32
        for (dtype, kept) in [
            ("f32", None),
            ("bf16", None),
            ("q8_0", None),
            ("f32", Some("bf16")),
            ("q8_0", Some("bf16")),
        ] {
            let name = kept.map_or(dtype.to_owned(), |kept| format!("{dtype}, kv {kept}"));
            for (active, rows) in [(1, 1), (4, 4), (4, 16), (16, 16)] {
                if size.dim > 1000 && rows > 4 {
                    continue;
                }
                let mut config = support::checkpoint(&dir, &size, dtype);
                config.kv_cache = kept.map(|kept: &str| kept.parse().expect("a format of keys and values"));
                let before = support::resident();
                let mut loaded = load(
                    &config,
                    LoadOptions {
                        rows,
                        threads,
                        device: Device::Cpu,
                    },
                )
                .expect("loads");
                let ids: Vec<RowId> = (0..active).map(|i| RowId(i as u16)).collect();
                let pcm = support::audio(active, 1);
                let mut out = StepOutput::default();
                let mut step = |out: &mut StepOutput| {
                    let io = &mut StepIo {
                        rows: &ids,
                        audio: &pcm,
                        out,
                    };
                    loaded.model.step(io).expect("steps");
                };
                for _ in 0..if full { size.context } else { 0 } {
                    step(&mut out);
                }
                group.bench_function(BenchmarkId::new(&name, format!("{active}/{rows}")), |b| {
                    b.iter_custom(|n| {
                        let start = Instant::now();
                        (0..n).for_each(|_| step(&mut out));
                        start.elapsed()
                    });
                });
                let weights = size.weights_read() as f64 * support::bytes_per_weight(dtype);
                println!(
                    "    last step: codec {:?}, lm {:?}; {:.2} GB of weights, {:.1} ms at the memory's speed; \
                     {:.2} GB resident with {active} rows in use",
                    out.parts.of(Part::MimiEncoder),
                    out.parts.of(Part::Lm),
                    weights / 1e9,
                    1e3 * weights / bandwidth,
                    support::resident().saturating_sub(before) as f64 / 1e9,
                );
            }
        }
    }
}

// The published codec's decoder, all of whose codebooks are read; its rings are full when the clock starts.
fn decoder(c: &mut Criterion) {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let dir = std::env::temp_dir().join(format!("moshi-bench-{}", support::SMALL.name));
    let codec = support::checkpoint(&dir, &support::SMALL, "f32").codec_file;
    let mut group = c.benchmark_group("decoder");
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(4));
    for rows in [1, 4, 16] {
        let mut decoder = CodecDecoder::load(&codec, 32, rows, threads).expect("loads");
        let ids: Vec<RowId> = (0..rows).map(|i| RowId(i as u16)).collect();
        let codes: Vec<u32> = (0..rows as u32 * 32).map(|i| i * 7919 % 2048).collect();
        let mut audio = vec![0.0; rows * FRAME_SAMPLES];
        let mut step = || decoder.decode(&ids, &codes, &mut audio).expect("decodes");
        (0..125).for_each(|_| step());
        group.bench_function(BenchmarkId::from_parameter(rows), |b| b.iter(&mut step));
    }
}

criterion_group!(benches, step, decoder);
criterion_main!(benches);
