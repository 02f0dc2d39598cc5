//! No thread of the pipeline allocates in a steady tick.

mod counting;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use counting::allocations;
use moshi_server::config::ScriptedModule;
use moshi_server::model::scripted::Scripted;
use moshi_server::pipeline::{PipelineOptions, StageEnd, links, wire};
use moshi_server::protocol::client::Sound;
use moshi_server::telemetry::Meters;

static FRAME: [u8; 4 * 1920] = [0; 4 * 1920];

const WARM_UP: usize = 300;
const STEADY: usize = 1000;
const PARTS: usize = 4;

#[test]
fn decoding_stepping_and_telling_allocate_nothing() {
    let module = ScriptedModule {
        path: "/".to_owned(),
        batch_size: 4,
        asr_delay_in_tokens: 6,
        step_s: 0.0,
        row_s: 0.0,
        fail_after_steps: None,
        hang_after_steps: None,
        panic_after_steps: None,
    };
    let (model, text) = Scripted::load(&module);
    let options = PipelineOptions {
        frames_ahead: 15,
        coalesce: Duration::from_millis(1),
        shards: 1,
    };
    let (mut rows, wiring) = wire(4, options);
    let (ends, _) = links::ends::<StageEnd>(4);
    let meters = Meters::default();
    let engine = meters.engine("test");
    wiring
        .start("test", model, text, Box::new(|_| {}), &ends, (&meters, &engine))
        .unwrap();
    let mut sessions: Vec<_> = (0..4)
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
        for _ in 0..frames {
            for (lease, credits, rx) in &mut sessions {
                let start = Instant::now();
                while !credits.try_take(1920) {
                    assert!(
                        start.elapsed() < Duration::from_secs(20),
                        "the pipeline stands still"
                    );
                    std::thread::yield_now();
                }
                lease.sound(Sound::F32(Bytes::from_static(&FRAME)), 1920).unwrap();
                while rx.try_recv().is_some() {}
            }
        }
        allocations() - before
    };
    hear(WARM_UP);
    // A thread's first wait on a link allocates its place among those who wait, and on a busy machine that can come late.
    let made: Vec<u64> = (0..PARTS).map(|_| hear(STEADY)).collect();
    assert!(
        made.contains(&0),
        "each {STEADY} frames of 4 streams made {made:?} allocations"
    );
}
