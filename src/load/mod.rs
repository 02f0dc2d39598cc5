//! The load tool: many paced streams against a server of ours or of Kyutai's, and honest figures of what they saw.
//!
//! Run it in a process of its own, better on a machine of its own: what it takes from the server's processor it takes from
//! the server's figures.

mod guess;
mod histogram;
pub mod html;
pub mod memory;
mod report;
mod rude;
mod search;
mod session;
mod sound;
mod tally;
mod voice;
pub mod wer;

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::{RngExt as _, SeedableRng, rngs::StdRng};
use tokio::task::JoinSet;
use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

pub use report::Report;
pub use rude::Rude;
pub use search::{Probe, Search, search};
pub use sound::Clip;
pub use tally::{Latency, Tally};

use crate::client::Endpoint;
use crate::stream::frame::SAMPLE_RATE;
use session::TestRun;
use voice::Voice;

/// Pause of a stream between two of its sessions, and after a refusal.
const PAUSE: Duration = Duration::from_millis(250);

/// What a load test does.
#[derive(Clone)]
pub struct Plan {
    /// One per form and credential; streams take turns.
    pub routes: Vec<Route>,
    pub clips: Vec<Clip>,
    /// Lengths of messages in milliseconds; streams take turns.
    pub chunks_ms: Vec<f64>,
    pub duration: Duration,
    /// Time over which the streams start.
    pub ramp: Duration,
    /// Mean length of a session; none for as long as a file, or the whole test for the made-up sound.
    pub session: Option<Duration>,
    pub rude: Vec<Rude>,
    pub seed: u64,
    /// The server's process, if it is on this machine and its memory is asked for.
    pub pid: Option<u32>,
}

/// A way to the server.
#[derive(Clone)]
pub struct Route {
    pub endpoint: Endpoint,
    /// Whether audio is sent as Ogg/Opus. The clips must have been encoded.
    pub opus: bool,
}

/// What has to hold.
#[derive(Clone, Copy, Debug, serde::Serialize)]
pub struct Slo {
    /// Seconds the 99th percentile of the lag may have.
    pub lag_p99: f64,
    /// Seconds the 95th percentile of the word latency may have.
    pub word_p95: Option<f64>,
}

impl Slo {
    /// Why `tally` does not meet it; nothing when it does.
    #[must_use]
    pub fn broken_by(&self, tally: &Tally) -> Vec<String> {
        let mut why = Vec::new();
        let lag = tally.quantiles(Latency::Lag);
        let word = tally.quantiles(Latency::Word);
        if lag.count == 0 && self.word_p95.is_none() {
            why.push("the model sends no Step, so there is no lag to judge: state --slo-word".to_owned());
        }
        if lag.p99 > self.lag_p99 {
            why.push(format!("lag p99 is {:.3} s, above {} s", lag.p99, self.lag_p99));
        }
        if let Some(limit) = self.word_p95 {
            if word.count == 0 {
                why.push("no word was heard".to_owned());
            } else if word.p95 > limit {
                why.push(format!("word p95 is {:.3} s, above {limit} s", word.p95));
            }
        }
        let sessions = &tally.sessions;
        for (count, what) in [
            (sessions.refused, "refused"),
            (sessions.denied, "denied"),
            (tally.failures(), "failed"),
        ] {
            if count > 0 {
                why.push(format!("{count} sessions {what}"));
            }
        }
        why
    }
}

/// Runs `streams` streams and counts what they see. `progress` is called now and then.
pub async fn run(plan: &Plan, streams: usize, mut progress: impl FnMut(Duration, &Tally)) -> Tally {
    let began = Instant::now();
    let until = began + plan.duration;
    let test = TestRun {
        began,
        until,
        tally: Arc::new(Mutex::new(Tally::new(plan.duration))),
    };
    let mut tasks = JoinSet::new();
    let sampling = plan
        .pid
        .map(|pid| AbortOnDropHandle::new(tokio::spawn(watch(pid, plan.duration, test.clone()))));
    if sampling.is_some() {
        // The first sample is of a server without streams.
        while test.tally.lock().memory.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    for i in 0..streams {
        let delay = plan.ramp.mul_f64(i as f64 / streams as f64);
        tasks.spawn(stream(plan.clone(), i, began + delay, test.clone()));
    }
    let rude = plan
        .rude
        .iter()
        .flat_map(|rude| std::iter::repeat_n(rude.how, rude.clients));
    for (i, how) in rude.enumerate() {
        let endpoint = plan.routes[i % plan.routes.len()].endpoint.clone();
        tasks.spawn(rude::run(endpoint, how, test.clone()));
    }
    let mut tick = tokio::time::interval(Duration::from_millis(500));
    loop {
        tokio::select! {
            _ = tick.tick() => progress(began.elapsed(), &test.tally.lock()),
            done = tasks.join_next() => if done.is_none() { break },
        }
    }
    test.tally.lock().clone()
}

/// Samples the memory of `pid` until it is gone.
async fn watch(pid: u32, duration: Duration, test: TestRun) {
    let mut tick = tokio::time::interval(memory::pause(duration));
    loop {
        tick.tick().await;
        let sample = memory::resident(pid);
        let mut tally = test.tally.lock();
        match sample {
            Ok(kilobytes) => tally.memory.add(test.began.elapsed().as_secs_f64(), kilobytes),
            // The sessions will say that the server has ended.
            Err(_) => return,
        }
    }
}

/// One stream: session after session until the test is over.
async fn stream(plan: Plan, number: usize, start: Instant, test: TestRun) {
    let mut random = StdRng::seed_from_u64(plan.seed.wrapping_add(number as u64));
    // Frames of different streams do not come in step.
    let offset = Duration::from_secs_f64(random.random_range(0.0..0.08));
    sleep_until((start + offset).into()).await;
    let route = &plan.routes[number % plan.routes.len()];
    let chunk_ms = plan.chunks_ms[number % plan.chunks_ms.len()];
    let mut turn = number;
    while Instant::now() < test.until {
        let clip = plan.clips[turn % plan.clips.len()].clone();
        let samples = match plan.session {
            Some(mean) => {
                (mean.as_secs_f64() * random.random_range(0.5..1.5) * f64::from(SAMPLE_RATE)) as u64
            }
            None if clip.is_made_up => u64::MAX - 1,
            None => clip.samples.len() as u64,
        };
        let chunk = ((chunk_ms * f64::from(SAMPLE_RATE) / 1000.0) as usize).max(1);
        let voice = Voice::new(clip.clone(), samples, chunk, route.opus.then_some(number as u32));
        session::run(&route.endpoint, clip, voice, &test).await;
        turn += 1;
        tokio::time::sleep(PAUSE).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(lag: f64) -> Tally {
        let mut tally = Tally::new(Duration::from_secs(1));
        tally.add(Latency::Lag, lag, Duration::ZERO);
        tally
    }

    #[test]
    fn an_objective_is_broken_by_lag_and_by_refusals() {
        let slo = Slo {
            lag_p99: 0.5,
            word_p95: None,
        };
        assert!(slo.broken_by(&tally(0.1)).is_empty());
        assert!(slo.broken_by(&tally(0.6))[0].contains("lag p99"));
        let mut refused = tally(0.1);
        refused.sessions.refused = 1;
        assert_eq!(slo.broken_by(&refused), ["1 sessions refused"]);
    }

    #[test]
    fn no_figures_are_not_good_figures() {
        let nothing = Tally::new(Duration::from_secs(1));
        let slo = Slo {
            lag_p99: 0.5,
            word_p95: None,
        };
        assert!(slo.broken_by(&nothing)[0].contains("--slo-word"));
        let words = Slo {
            lag_p99: 0.5,
            word_p95: Some(1.0),
        };
        assert_eq!(words.broken_by(&nothing), ["no word was heard"]);
    }
}
