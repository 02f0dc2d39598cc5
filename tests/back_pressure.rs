//! Accounting: what is in flight is exactly what the bounds allow, and comes back to the sample.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use moshi_server::config::ScriptedModule;
use moshi_server::model::StreamModel;
use moshi_server::model::scripted::Scripted;
use moshi_server::pipeline::credits::MIN_CHARGE;
use moshi_server::pipeline::frame::FRAME_SAMPLES;
use moshi_server::pipeline::links::Control;
use moshi_server::pipeline::{PipelineOptions, StageEnd, links, wire};
use moshi_server::protocol::client::Sound;
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

/// A pipeline of one row, its lease and its outbox.
fn pipeline(
    hang_after_steps: Option<u64>,
) -> (
    moshi_server::pipeline::rows::RowLease,
    moshi_server::pipeline::words::outbox::OutboxRx,
) {
    let module = ScriptedModule {
        path: "/".to_owned(),
        batch_size: 1,
        asr_delay_in_tokens: 6,
        step_s: 0.0,
        row_s: 0.0,
        fail_after_steps: None,
        hang_after_steps,
        panic_after_steps: None,
    };
    let (model, text): (Box<dyn StreamModel>, _) = Scripted::load(&module);
    let (mut rows, wiring) = wire(1, options());
    let lease = rows.lease().unwrap();
    let (ends, _) = links::ends::<StageEnd>(4);
    let meters = Meters::default();
    let engine = meters.engine("test");
    wiring
        .start("test", model, text, Box::new(|_| {}), &ends, (&meters, &engine))
        .unwrap();
    let (tx, rx) = links::outbox(1024);
    lease.attach(24_000, tx).unwrap();
    (lease, rx)
}

#[test]
fn a_frozen_engine_leaves_exactly_the_credits_of_a_session_in_flight() {
    let (lease, _rx) = pipeline(Some(0));
    let credits = Arc::clone(lease.credits());
    assert!(credits.try_take(1920));
    lease.sound(silence(FRAME_SAMPLES), 1920).unwrap();
    // The engine took this one, and is stuck with it.
    until(|| credits.in_flight() == 0);
    let mut frames = 0;
    while credits.try_take(1920) {
        lease.sound(silence(FRAME_SAMPLES), 1920).unwrap();
        frames += 1;
    }
    assert_eq!(frames, AHEAD + 1);
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(credits.in_flight() as usize, (AHEAD + 1) * FRAME_SAMPLES);
}

#[test]
fn tiny_messages_and_markers_fill_no_more_than_their_share() {
    let (lease, _rx) = pipeline(Some(0));
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
    let (lease, mut rx) = pipeline(None);
    let credits = Arc::clone(lease.credits());
    for i in 0..300usize {
        let samples = [1, 479, 480, 481, 1919, 1920, 700][i % 7];
        let charge = moshi_server::pipeline::rows::RowLease::charge(samples as u32);
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
