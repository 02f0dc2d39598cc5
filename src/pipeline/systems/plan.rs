//! Plan: which rows step now, with how much audio each.

use std::time::{Duration, Instant};

use crate::pipeline::columns::{EngineCols, StopKind};
use crate::pipeline::phase::Phase;
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::ids::RowId;

/// The rows of one step. Reused from tick to tick.
pub struct BatchPlan {
    pub rows: Vec<RowId>,
    /// Samples each row takes from its ring; the rest of its frame is silence.
    pub take: Vec<usize>,
    /// How long the longest-waiting row was ready.
    pub oldest: Duration,
}

/// Whether a step starts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Step,
    /// Not yet: others may join until then.
    WaitUntil(Instant),
    /// No row has anything to step.
    Nothing,
}

impl BatchPlan {
    #[must_use]
    pub fn new(rows: usize) -> Self {
        Self {
            rows: Vec::with_capacity(rows),
            take: Vec::with_capacity(rows),
            oldest: Duration::ZERO,
        }
    }
}

/// Fills `plan` with every row that is ready. The step starts when all streams are, or when the first of them has waited
/// for `coalesce`; a stream that is behind stays ready, so it never waits again.
pub fn plan(cols: &mut EngineCols, now: Instant, coalesce: Duration, plan: &mut BatchPlan) -> Decision {
    plan.rows.clear();
    plan.take.clear();
    let (mut streams, mut first) = (0, None::<Instant>);
    for row in cols.rows() {
        if !matches!(cols.phase[row], Phase::Active | Phase::Flushing | Phase::Ending) {
            continue;
        }
        streams += 1;
        let Some(take) = ready(cols, row) else {
            cols.ready_since[row] = None;
            continue;
        };
        let since = *cols.ready_since[row].get_or_insert(now);
        first = Some(first.map_or(since, |first| first.min(since)));
        plan.rows.push(row);
        plan.take.push(take);
    }
    let Some(first) = first else {
        return Decision::Nothing;
    };
    plan.oldest = now.saturating_duration_since(first);
    if plan.rows.len() == streams || plan.oldest >= coalesce {
        Decision::Step
    } else {
        Decision::WaitUntil(first + coalesce)
    }
}

// Samples the next step of `row` takes, if it can step.
fn ready(cols: &EngineCols, row: RowId) -> Option<usize> {
    if cols.phase[row] != Phase::Active {
        return Some(0);
    }
    let stop = cols.stops[row].front();
    let before = stop.map_or(u64::MAX, |stop| stop.at - cols.consumed[row]);
    if before >= FRAME_SAMPLES as u64 {
        return (cols.ring[row].len() >= FRAME_SAMPLES).then_some(FRAME_SAMPLES);
    }
    // A part of a frame is stepped only where the stream stops behind it.
    stop.is_some_and(|stop| stop.what != StopKind::Restart)
        .then_some(before as usize)
}
