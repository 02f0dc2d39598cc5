//! No thread of the pipeline allocates in a steady tick, but for the text of each word.

mod counting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use counting::allocations;
use moshi_server::model::StreamModel;
use moshi_server::model::scripted::speech::ScriptedSpeech;
use moshi_server::model::scripted::{Scripted, ScriptedConfig, level};
use moshi_server::pipeline::credits::{Credits, MIN_CHARGE};
use moshi_server::pipeline::input::text::Piece;
use moshi_server::pipeline::outbox::OutboxRx;
use moshi_server::pipeline::rows::RowLease;
use moshi_server::pipeline::{KindMeters, PipelineMeters, PipelineOptions, StageEnd, links, wire};
use moshi_server::stream::input::{AudioBytes, Control, Encoding};
use moshi_server::stream::output::Output;
use moshi_server::stream::text::Vocabulary;
use moshi_server::stream::voice::Speaker;
use moshi_server::telemetry::Meters;

const WARM_UP: usize = 300;
const STEADY: usize = 1000;
const PARTS: usize = 4;
const STREAMS: usize = 4;

// A frame of constant samples.
fn frame(level: f32) -> Bytes {
    level.to_le_bytes().repeat(1920).into()
}

fn floats(data: Bytes) -> AudioBytes {
    AudioBytes {
        encoding: Encoding::F32,
        data,
    }
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

#[test]
fn speech_allocates_nothing_while_it_goes_on() {
    let config = ScriptedConfig {
        rows: STREAMS,
        ..ScriptedConfig::default()
    };
    let (model, tokenizer) = ScriptedSpeech::load(&config);
    // Fewer frames in flight than the pool of the output stage keeps.
    let mut sessions = sessions(model, Vocabulary::Speaks(tokenizer), 24);
    for (lease, credits, _) in &sessions {
        assert!(credits.try_take(2 * MIN_CHARGE));
        let steps = (WARM_UP + (PARTS + 1) * STEADY) as u32;
        let text = "a long silence".into();
        lease.text(Piece::Pause { steps, text }).unwrap();
        lease.control(Control::End).unwrap();
    }
    let mut hear = |frames: usize| {
        let (before, start) = (allocations(), Instant::now());
        for (_, _, rx) in &mut sessions {
            let mut heard = 0;
            while heard < frames {
                assert!(
                    start.elapsed() < Duration::from_secs(20),
                    "the pipeline stands still"
                );
                match rx.try_recv() {
                    Some(Output::Sound(_)) => heard += 1,
                    Some(_) => {}
                    None => std::thread::yield_now(),
                }
            }
        }
        allocations() - before
    };
    hear(WARM_UP);
    let made: Vec<u64> = (0..PARTS).map(|_| hear(STEADY)).collect();
    assert!(
        made.contains(&0),
        "each {STEADY} frames of {STREAMS} streams made {made:?} allocations"
    );
}

// Of all threads while the streams hear `sounds` over and over, for each of `PARTS` times `STEADY` frames.
fn allocations_of(sounds: &[Bytes]) -> Vec<u64> {
    let config = ScriptedConfig {
        rows: STREAMS,
        ..ScriptedConfig::default()
    };
    let (model, text) = Scripted::load(&config);
    let mut sessions = sessions(model, Vocabulary::Reads(text), 256);
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
                    .audio(floats(sounds[i % sounds.len()].clone()), 1920)
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

type Stream = (RowLease, Arc<Credits>, OutboxRx);

// Streams of a pipeline with a row for each, of whose output so many events may be in flight.
fn sessions(model: Box<dyn StreamModel>, text: Vocabulary, events: usize) -> Vec<Stream> {
    let options = PipelineOptions {
        frames_ahead: 15,
        coalesce: Duration::from_millis(1),
        shards: 1,
    };
    let (mut rows, wiring) = wire(STREAMS, options);
    let (ends, _) = links::ends::<StageEnd>(STREAMS);
    let meters = Meters::default();
    let engine = meters.engine("test");
    let kind = KindMeters::register(&meters, "test", &text);
    let meters = PipelineMeters {
        all: &meters,
        engine: &engine,
        kind: &kind,
    };
    wiring
        .start("test", model, text, Box::new(|_| {}), &ends, meters)
        .unwrap();
    (0..STREAMS)
        .map(|_| {
            let lease = rows.lease().unwrap();
            let (tx, rx) = links::outbox(events, 192);
            lease.attach(tx, Speaker::default()).unwrap();
            let credits = Arc::clone(lease.credits());
            (lease, credits, rx)
        })
        .collect()
}
