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

const AHEAD: usize = 15;
const PATIENCE: Duration = Duration::from_secs(20);

fn options() -> PipelineOptions {
    PipelineOptions { frames_ahead: AHEAD, coalesce: Duration::ZERO, shards: 1 }
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
