//! No thread of the pipeline allocates in a steady tick.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use moshi_server::config::ScriptedModule;
use moshi_server::model::scripted::Scripted;
use moshi_server::pipeline::{PipelineOptions, StageEnd, links, wire};
use moshi_server::protocol::client::Sound;
use moshi_server::telemetry::Meters;

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: everything is left to the system's allocator; counting touches no memory of its own.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `GlobalAlloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

static FRAME: [u8; 4 * 1920] = [0; 4 * 1920];

const WARM_UP: usize = 300;
const STEADY: usize = 1000;

#[test]
fn decoding_stepping_and_telling_allocate_nothing() {
    let module = ScriptedModule {
        path: "/".to_owned(),
        batch_size: 4,
        asr_delay_in_tokens: 6,
        step_s: 0.0,
        fail_after_steps: None,
        hang_after_steps: None,
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
    let mut before = 0;
    for frame in 0..WARM_UP + STEADY {
        if frame == WARM_UP {
            before = ALLOCATIONS.load(Ordering::Relaxed);
        }
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
    assert_eq!(
        ALLOCATIONS.load(Ordering::Relaxed) - before,
        0,
        "in {STEADY} frames of 4 streams"
    );
}
