//! Recording neither allocates nor grows, however long nobody scrapes.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::time::Duration;

use moshi_server::auth::{Method, Reason};
use moshi_server::telemetry::Meters;
use moshi_server::telemetry::labels::{Codec, Verdict};
use moshi_server::telemetry::record::StepTimes;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn a_million_records_without_a_scrape_allocate_nothing() {
    let meters = Meters::new(true);
    let engine = meters.engine("asr");
    let ms = Duration::from_millis;
    let before = ALLOCATIONS.get();
    for i in 0..1_000_000u32 {
        engine.lag.record(f64::from(i) * 1e-6);
        if i % 8 == 0 {
            engine.stepped(
                8,
                StepTimes {
                    mimi: ms(3),
                    lm: ms(20),
                    total: ms(25),
                },
            );
            meters.audio.received.of(Codec::Pcm16).add_samples(1920, 24_000);
            meters
                .auth
                .attempts
                .of((Method::Cookie, Verdict::Denied(Reason::Expired)))
                .increment(1);
        }
    }
    assert_eq!(ALLOCATIONS.get() - before, 0);
    let text = meters.render();
    assert!(text.contains("moshi_engine_lag_seconds_count{module=\"asr\"} 1000000\n"));
    assert!(
        text.contains("asr_model_step_duration_count 125000\n"),
        "Kyutai's names follow"
    );
}
