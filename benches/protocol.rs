//! Reading and writing messages. `cargo bench --bench protocol`

use std::hint::black_box;

use bytes::Bytes;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use moshi_server::protocol::kyutai::Form;
use moshi_server::protocol::kyutai::client::ClientMsg;
use moshi_server::protocol::kyutai::server::ServerMsg;
use moshi_server::stream::input::PcmRate;
use serde::Serialize;

#[derive(Serialize)]
#[serde(tag = "type")]
enum Out {
    Audio { pcm: Vec<f32> },
}

fn protocol(c: &mut Criterion) {
    let form = Form::default();
    let pcm = (0..1920).map(|i| (i as f32 / 100.0).sin()).collect();
    let audio = Bytes::from(rmp_serde::to_vec_named(&Out::Audio { pcm }).unwrap_or_default());
    let mut group = c.benchmark_group("protocol");
    group.throughput(Throughput::Bytes(audio.len() as u64));
    group.bench_function("read 80 ms of classic audio", |b| {
        b.iter(|| ClientMsg::from_binary(black_box(audio.clone()), form))
    });
    let raw = Form {
        pcm16: Some(PcmRate::default()),
        ..form
    };
    group.bench_function("read 80 ms of raw PCM", |b| {
        b.iter(|| ClientMsg::from_binary(black_box(audio.clone()), raw))
    });
    let step = ServerMsg::Step {
        step_idx: 1000,
        prs: [0.1, 0.2, 0.3, 0.4].into_iter().collect(),
        buffered_pcm: 0,
    };
    let word = ServerMsg::Word {
        text: "hello".to_owned(),
        start_time: 12.56,
    };
    group.throughput(Throughput::Elements(1));
    for (name, message, json) in [
        ("step", &step, false),
        ("word", &word, false),
        ("word as JSON", &word, true),
    ] {
        let form = Form { json, ..form };
        let mut out = Vec::new();
        group.bench_function(format!("write a {name}"), |b| {
            b.iter(|| black_box(message).encode(form, &mut out))
        });
    }
}

criterion_group!(benches, protocol);
criterion_main!(benches);
