//! Accounting: what is in flight is exactly what the bounds allow, and comes back to the sample.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moshi_server::model::StreamModel;
use moshi_server::model::scripted::{Scripted, ScriptedConfig};
use moshi_server::pipeline::credits::MIN_CHARGE;
use moshi_server::pipeline::links::Control;
use moshi_server::pipeline::rows::RowLease;
use moshi_server::pipeline::words::outbox::OutboxRx;
use moshi_server::pipeline::{PipelineOptions, StageEnd, links, wire};
use moshi_server::protocol::client::Sound;
use moshi_server::stream::frame::FRAME_SAMPLES;
use moshi_server::telemetry::Meters;

const AHEAD: usize = 15;
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

fn silence(samples: usize) -> Sound {
    Sound::F32(Bytes::from(vec![0; 4 * samples]))
}

/// A pipeline, and of every row its lease and its outbox.
fn pipeline(count: usize, hang_after_steps: Option<u64>) -> Vec<(RowLease, OutboxRx)> {
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
    wiring
        .start("test", model, text, Box::new(|_| {}), &ends, (&meters, &engine))
        .unwrap();
    (0..count)
        .map(|_| {
            let lease = rows.lease().unwrap();
            let (tx, rx) = links::outbox(1024);
            lease.attach(24_000, tx).unwrap();
            (lease, rx)
        })
        .collect()
}

fn one_row(hang_after_steps: Option<u64>) -> (RowLease, OutboxRx) {
    pipeline(1, hang_after_steps).remove(0)
}

#[test]
fn a_frozen_engine_leaves_exactly_the_credits_of_a_session_in_flight() {
    let (lease, _rx) = one_row(Some(0));
    let credits = Arc::clone(lease.credits());
    assert!(credits.try_take(1920));
    lease.sound(silence(FRAME_SAMPLES), 1920).unwrap();
    // The engine took this one, and is stuck with it.
    until(|| credits.in_flight() == 0);
    assert_eq!(fill(&lease), AHEAD + 1);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(credits.in_flight() as usize, (AHEAD + 1) * FRAME_SAMPLES);
}

#[test]
fn a_frozen_engine_leaves_the_sum_of_all_sessions_bounds_in_flight_and_no_link_refuses_it() {
    let sessions = pipeline(7, Some(0));
    let first = sessions[0].0.credits();
    assert!(first.try_take(1920));
    sessions[0].0.sound(silence(FRAME_SAMPLES), 1920).unwrap();
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
        lease.sound(silence(FRAME_SAMPLES), 1920).unwrap();
        frames += 1;
    }
    frames
}

#[test]
fn tiny_messages_and_markers_fill_no_more_than_their_share() {
    let (lease, _rx) = one_row(Some(0));
    let credits = Arc::clone(lease.credits());
    assert!(credits.try_take(1920));
    lease.sound(silence(FRAME_SAMPLES), 1920).unwrap();
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
        lease.sound(silence(samples), charge).unwrap();
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
