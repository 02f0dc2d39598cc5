//! No thread of the pipeline allocates in a steady tick, but for the text of each word.

mod counting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use counting::allocations;
use moshi_server::model::scripted::{Scripted, ScriptedConfig, level};
use moshi_server::pipeline::{PipelineOptions, StageEnd, links, wire};
use moshi_server::protocol::client::Sound;
use moshi_server::telemetry::Meters;

const WARM_UP: usize = 300;
const STEADY: usize = 1000;
const PARTS: usize = 4;
const STREAMS: usize = 4;

// A frame of constant samples.
fn frame(level: f32) -> Bytes {
    level.to_le_bytes().repeat(1920).into()
}

#[test]
fn silence_allocates_nothing_and_a_word_its_text() {
    let made = allocations_of(&[frame(0.0)]);
    assert!(
        made.contains(&0),
        "each {STEADY} frames of {STREAMS} streams made {made:?} allocations"
    );
    // silence, a word's start, two letters
    let sounds = [0.0, level(0), level(1), level(2)].map(frame);
    let words = (STEADY / sounds.len() * STREAMS) as u64;
    let made = allocations_of(&sounds);
    assert!(
        made.iter().any(|n| *n <= words) && made.iter().all(|n| *n > words / 2),
        "each {words} words made {made:?} allocations"
    );
}

// Of all threads while the streams hear `sounds` over and over, for each of `PARTS` times `STEADY` frames.
fn allocations_of(sounds: &[Bytes]) -> Vec<u64> {
    let config = ScriptedConfig {
        rows: STREAMS,
        ..ScriptedConfig::default()
    };
    let (model, text) = Scripted::load(&config);
    let options = PipelineOptions {
        frames_ahead: 15,
        coalesce: Duration::from_millis(1),
        shards: 1,
    };
    let (mut rows, wiring) = wire(STREAMS, options);
    let (ends, _) = links::ends::<StageEnd>(STREAMS);
    let meters = Meters::default();
    let engine = meters.engine("test");
    wiring
        .start("test", model, text, Box::new(|_| {}), &ends, (&meters, &engine))
        .unwrap();
    let mut sessions: Vec<_> = (0..STREAMS)
        .map(|_| {
            let lease = rows.lease().unwrap();
            let (tx, rx) = links::outbox(256);
            lease.attach(24_000, tx).unwrap();
            let credits = Arc::clone(lease.credits());
            (lease, credits, rx)
        })
        .collect();
    let mut hear = |frames: usize| {
        let before = allocations();
        for i in 0..frames {
            for (lease, credits, rx) in &mut sessions {
                let start = Instant::now();
                while !credits.try_take(1920) {
                    assert!(
                        start.elapsed() < Duration::from_secs(20),
                        "the pipeline stands still"
                    );
                    std::thread::yield_now();
                }
                lease
                    .sound(Sound::F32(sounds[i % sounds.len()].clone()), 1920)
                    .unwrap();
                while rx.try_recv().is_some() {}
            }
        }
        allocations() - before
    };
    hear(WARM_UP);
    // A thread's first wait on a link allocates its place among those who wait, and on a busy machine that can come late.
    (0..PARTS).map(|_| hear(STEADY)).collect()
}
