//! What has to be measured by looking, not when something happens.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use super::gpu::Cards;
use super::metrics::Meters;
use super::process;

/// How often the delay of the runtime's timers is measured.
const PROBE: Duration = Duration::from_millis(250);
/// Probes between two readings of the process and the graphics cards.
const PROBES_A_SAMPLE: u32 = 20;

/// Measures for ever. One task for the whole process; abort it to end it.
pub async fn run(meters: Meters) {
    let started = time::OffsetDateTime::now_utc();
    meters.process.started_at.set(started.unix_timestamp() as f64);
    let mut cards = Some(Cards::find(&meters));
    let runtime = tokio::runtime::Handle::current().metrics();
    meters.runtime.workers.set(runtime.num_workers() as f64);
    let mut probes = 0;
    let mut due = Instant::now();
    loop {
        if probes % PROBES_A_SAMPLE == 0 {
            let process = meters.process.clone();
            let taken = cards.take();
            // Reading files and asking a driver can block; sockets must not wait for it.
            let sampled = tokio::task::spawn_blocking(move || {
                process::sample(&process);
                taken.inspect(Cards::sample)
            });
            cards = sampled.await.ok().flatten();
        }
        probes += 1;
        meters.runtime.tasks.set(runtime.num_alive_tasks() as f64);
        meters.runtime.queued.set(runtime.global_queue_depth() as f64);
        due = (due + PROBE).max(Instant::now());
        sleep_until(due).await;
        meters.runtime.delay.record(due.elapsed().as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_process_is_measured_at_once() {
        let meters = Meters::default();
        let task = tokio::spawn(run(meters.clone()));
        while meters.render().contains("\nmoshi_runtime_alive_tasks 0\n") {
            tokio::task::yield_now().await;
        }
        task.abort();
        let text = meters.render();
        for name in [
            "process_resident_memory_bytes",
            "process_open_fds",
            "process_threads",
            "process_start_time_seconds",
        ] {
            assert!(
                !text.contains(&format!("\n{name} 0\n")),
                "{name} was not measured"
            );
        }
    }
}
