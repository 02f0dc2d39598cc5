//! Accounting: what is in flight is exactly what the bounds allow, and comes back to the sample.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moshi_server::model::StreamModel;
use moshi_server::model::scripted::{Scripted, ScriptedConfig};
use moshi_server::pipeline::credits::MIN_CHARGE;
use moshi_server::pipeline::outbox::OutboxRx;
use moshi_server::pipeline::rows::RowLease;
use moshi_server::pipeline::{KindMeters, PipelineMeters, PipelineOptions, StageEnd, links, wire};
use moshi_server::stream::frame::FRAME_SAMPLES;
use moshi_server::stream::input::{AudioBytes, Control, Encoding};
use moshi_server::stream::output::Output;
use moshi_server::stream::text::Vocabulary;
use moshi_server::stream::voice::Speaker;
use moshi_server::telemetry::Meters;

const AHEAD: usize = 15;
/// Room for answers to all control messages that can be under way.
const ANSWERS: usize = 192;
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> PipelineOptions {
    PipelineOptions {
        frames_ahead: AHEAD,
        coalesce: Duration::ZERO,
        shards: 1,
    }
}

fn until(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "it never happened");
        std::thread::sleep(Duration::from_millis(1));
    }
}

fn silence(samples: usize) -> AudioBytes {
    AudioBytes {
        encoding: Encoding::F32,
        data: Bytes::from(vec![0; 4 * samples]),
    }
}

/// A pipeline, and of every row its lease and its outbox.
fn pipeline(count: usize, hang_after_steps: Option<u64>, outbox: usize) -> Vec<(RowLease, OutboxRx)> {
    let config = ScriptedConfig {
        rows: count,
        hang_after_steps,
        ..ScriptedConfig::default()
    };
    let (model, text): (Box<dyn StreamModel>, _) = Scripted::load(&config);
    let (mut rows, wiring) = wire(count, options());
    let (ends, _) = links::ends::<StageEnd>(4);
    let meters = Meters::default();
    let engine = meters.engine("test");
    let text = Vocabulary::Reads(text);
    let kind = KindMeters::register(&meters, "test", &text);
    let meters = PipelineMeters {
        all: &meters,
        engine: &engine,
        kind: &kind,
    };
    wiring
        .start("test", model, text, Box::new(|_| {}), &ends, meters)
        .unwrap();
    (0..count)
        .map(|_| {
            let lease = rows.lease().unwrap();
            let (tx, rx) = links::outbox(outbox, ANSWERS);
            lease.attach(tx, Speaker::default()).unwrap();
            (lease, rx)
        })
        .collect()
}

fn one_row(hang_after_steps: Option<u64>) -> (RowLease, OutboxRx) {
    pipeline(1, hang_after_steps, 1024).remove(0)
}

#[test]
fn a_frozen_engine_leaves_exactly_the_credits_of_a_session_in_flight() {
    let (lease, _rx) = one_row(Some(0));
    let credits = Arc::clone(lease.credits());
    assert!(credits.try_take(1920));
    lease.audio(silence(FRAME_SAMPLES), 1920).unwrap();
    // The engine took this one, and is stuck with it.
    until(|| credits.in_flight() == 0);
    assert_eq!(fill(&lease), AHEAD + 1);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(credits.in_flight() as usize, (AHEAD + 1) * FRAME_SAMPLES);
}

#[test]
fn a_frozen_engine_leaves_the_sum_of_all_sessions_bounds_in_flight_and_no_link_refuses_it() {
    let sessions = pipeline(7, Some(0), 1024);
    let first = sessions[0].0.credits();
    assert!(first.try_take(1920));
    sessions[0].0.audio(silence(FRAME_SAMPLES), 1920).unwrap();
    until(|| first.in_flight() == 0);
    for (lease, _) in &sessions {
        assert_eq!(fill(lease), AHEAD + 1);
    }
    std::thread::sleep(Duration::from_millis(50));
    let in_flight: u32 = sessions
        .iter()
        .map(|(lease, _)| lease.credits().in_flight())
        .sum();
    assert_eq!(in_flight as usize, 7 * (AHEAD + 1) * FRAME_SAMPLES);
}

/// Sends frames as long as there are credits; how many that were.
fn fill(lease: &RowLease) -> usize {
    let mut frames = 0;
    while lease.credits().try_take(1920) {
        lease.audio(silence(FRAME_SAMPLES), 1920).unwrap();
        frames += 1;
    }
    frames
}

#[test]
fn a_client_that_does_not_read_stalls_its_own_row_alone_and_loses_nothing() {
    let mut sessions = pipeline(2, None, 9);
    let (reading, mut other) = sessions.pop().unwrap();
    let (lease, mut outbox) = sessions.pop().unwrap();
    let send = |lease: &RowLease| {
        until(|| lease.credits().try_take(1920));
        lease.audio(silence(FRAME_SAMPLES), 1920).unwrap();
    };
    // Of nine credits a step needs three and holds one for its one event: seven steps, and then the row waits.
    let mut sent = 0;
    while sent < 7 + AHEAD + 1 {
        send(&lease);
        sent += 1;
    }
    for _ in 0..100 {
        send(&reading);
        until(|| !other.is_empty());
        while other.try_recv().is_some() {}
    }
    assert!(!lease.credits().try_take(1920), "the row went on without room");
    let mut frames = Vec::new();
    while frames.len() < sent {
        until(|| !outbox.is_empty());
        if let Some(Output::Step { frame, .. }) = outbox.try_recv() {
            frames.push(frame);
        }
    }
    assert_eq!(frames, (0..sent as u64).collect::<Vec<_>>());
}

#[test]
fn tiny_messages_and_markers_fill_no_more_than_their_share() {
    let (lease, _rx) = one_row(Some(0));
    let credits = Arc::clone(lease.credits());
    assert!(credits.try_take(1920));
    lease.audio(silence(FRAME_SAMPLES), 1920).unwrap();
    until(|| credits.in_flight() == 0);
    let mut marks = 0;
    while credits.try_take(MIN_CHARGE) {
        lease.control(Control::Mark(marks)).unwrap();
        marks += 1;
    }
    assert_eq!(marks as u32, credits.size() / MIN_CHARGE);
}

#[test]
fn every_credit_comes_back() {
    let (lease, mut rx) = one_row(None);
    let credits = Arc::clone(lease.credits());
    for i in 0..300usize {
        let samples = [1, 479, 480, 481, 1919, 1920, 700][i % 7];
        let charge = RowLease::charge(samples as u32);
        until(|| credits.try_take(charge));
        lease.audio(silence(samples), charge).unwrap();
        if i % 5 == 0 {
            until(|| credits.try_take(MIN_CHARGE));
            lease
                .control([Control::Mark(1), Control::Flush, Control::Restart][i / 5 % 3])
                .unwrap();
        }
        while rx.try_recv().is_some() {}
    }
    until(|| credits.try_take(MIN_CHARGE));
    lease.control(Control::End).unwrap();
    until(|| credits.in_flight() == 0);
    assert!(
        credits.try_take(credits.size()) && !credits.try_take(1),
        "no credit is made out of nothing"
    );
}
