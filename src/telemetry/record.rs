//! Events that touch several metrics at once, recorded in one place each.

use std::time::Duration;

use super::buckets::STEP_BUDGET;
use super::catalogue::{Auth, EngineMeters, Sessions};
use super::labels::{Edge, StepStage, Verdict};
use crate::auth::{Principal, Refusal};
use crate::stream::stage::Stage;

impl Auth {
    /// A credential was judged in `took`.
    pub fn judged(&self, judged: &Result<Principal, Refusal>, took: Duration) {
        let (method, verdict) = match judged {
            Ok(principal) => (principal.method, Verdict::Allowed),
            Err(refusal) => (refusal.method, Verdict::Denied(refusal.reason)),
        };
        self.check.of(method).record(took.as_secs_f64());
        self.attempts.of((method, verdict)).increment(1);
    }
}

impl Sessions {
    /// A session enters its first stage.
    pub fn entered(&self, stage: Stage) {
        self.open.of(stage).increment(1);
    }

    /// A session goes from stage to stage.
    pub fn moved(&self, from: Stage, to: Stage) {
        self.open.of(from).decrement(1);
        if to != Stage::Closed {
            self.open.of(to).increment(1);
        }
        if let Some(edge) = Edge::between(from, to) {
            self.transitions.of(edge).increment(1);
        }
    }
}

/// Where the time of one step went.
#[derive(Clone, Copy, Debug, Default)]
pub struct StepTimes {
    pub mimi: Duration,
    pub lm: Duration,
    /// The whole tick around the model, the model included.
    pub total: Duration,
}

impl EngineMeters {
    /// A step advanced `rows` rows by one frame each.
    pub fn stepped(&self, rows: usize, times: StepTimes) {
        let host = times.total.saturating_sub(times.mimi + times.lm);
        let stages = [
            (StepStage::Mimi, times.mimi),
            (StepStage::Lm, times.lm),
            (StepStage::Host, host),
            (StepStage::Total, times.total),
        ];
        for (stage, time) in stages {
            self.step.of(stage).record(time.as_secs_f64());
        }
        self.batch.record(rows as f64);
        self.frames.increment(rows as u64);
        if times.total > STEP_BUDGET {
            self.overruns.increment(1);
        }
    }
}
