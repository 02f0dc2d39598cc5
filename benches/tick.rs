//! What the server adds to the model: one frame of each of `n` streams from the sessions' links to their outboxes, with a
//! model that computes nothing. `cargo bench --bench tick`

use std::hint::spin_loop;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moshi_server::model::scripted::{Scripted, ScriptedConfig};
use moshi_server::pipeline::outbox::OutboxRx;
use moshi_server::pipeline::rows::RowLease;
use moshi_server::pipeline::{KindMeters, PipelineMeters, PipelineOptions, StageEnd, links, wire};
use moshi_server::stream::input::{AudioBytes, Encoding};
use moshi_server::stream::output::Output;
use moshi_server::stream::text::Vocabulary;
use moshi_server::stream::voice::Speaker;
use moshi_server::telemetry::Meters;

static FRAME: [u8; 4 * 1920] = [0; 4 * 1920];

fn sessions(rows: usize) -> Vec<(RowLease, OutboxRx)> {
    let config = ScriptedConfig {
        rows,
        ..ScriptedConfig::default()
    };
    let (model, text) = Scripted::load(&config);
    let options = PipelineOptions {
        frames_ahead: 15,
        coalesce: Duration::from_millis(5),
        shards: 1,
    };
    let (mut free, wiring) = wire(rows, options);
    let (ends, _) = links::ends::<StageEnd>(4);
    let meters = Meters::default();
    let engine = meters.engine("bench");
    let text = Vocabulary::Reads(text);
    let kind = KindMeters::register(&meters, "bench", &text);
    let meters = PipelineMeters {
        all: &meters,
        engine: &engine,
        kind: &kind,
    };
    let started = wiring.start("bench", model, text, Box::new(|_| {}), &ends, meters);
    assert!(started.is_ok());
    let session = || {
        let lease = free.lease()?;
        let (tx, rx) = links::outbox(64, 192);
        lease.attach(tx, Speaker::default()).ok()?;
        Some((lease, rx))
    };
    std::iter::from_fn(session).take(rows).collect()
}

fn one_frame_each(sessions: &mut [(RowLease, OutboxRx)]) {
    for (lease, _) in sessions.iter() {
        while !Arc::clone(lease.credits()).try_take(1920) {
            spin_loop();
        }
        let audio = AudioBytes {
            encoding: Encoding::F32,
            data: Bytes::from_static(&FRAME),
        };
        assert!(lease.audio(audio, 1920).is_ok());
    }
    for (_, outbox) in sessions {
        while !matches!(outbox.try_recv(), Some(Output::Step { .. })) {
            std::thread::yield_now();
        }
    }
}

fn tick(c: &mut Criterion) {
    let mut group = c.benchmark_group("tick");
    for rows in [1, 4, 16, 64, 256] {
        let mut sessions = sessions(rows);
        group.throughput(Throughput::Elements(rows as u64));
        group.bench_function(BenchmarkId::from_parameter(rows), |b| {
            b.iter(|| one_frame_each(&mut sessions))
        });
    }
}

criterion_group!(benches, tick);
criterion_main!(benches);
