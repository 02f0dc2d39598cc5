//! Plan: which rows step now, with how much audio each.

use std::task::Waker;
use std::time::{Duration, Instant};

use crate::model::Readiness;
use crate::pipeline::columns::{EngineCols, StopKind};
use crate::pipeline::outbox::STEP_EVENTS;
use crate::pipeline::phase::Phase;
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::ids::RowId;

/// The rows of one step. Reused from tick to tick.
pub struct BatchPlan {
    pub rows: Vec<RowId>,
    /// Samples each row takes from its ring; the rest of its frame is silence.
    pub take: Vec<usize>,
    /// Light steps since the last whole one that made other rows wait.
    lights: u32,
}

/// Whether a step starts now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    Step,
    /// Not yet: other rows may become ready until then.
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
            lights: 0,
        }
    }
}

/// Fills `plan` with every row that is ready: it has input, and room for its output. The step starts when all streams are
/// ready, or when the first of them has waited for `coalesce`; a stream that is behind stays ready, so it never waits again.
/// A stream whose client does not read never delays the step of others; `waker` is woken when its client has read.
pub fn plan(
    cols: &mut EngineCols,
    now: Instant,
    coalesce: Duration,
    waker: &Waker,
    plan: &mut BatchPlan,
) -> Decision {
    plan.rows.clear();
    plan.take.clear();
    let (mut streams, mut first) = (0, None::<Instant>);
    for row in cols.rows() {
        if !matches!(cols.phase[row], Phase::Active | Phase::Flushing | Phase::Ending) {
            continue;
        }
        let room = &cols.room[row];
        if !room
            .as_ref()
            .is_none_or(|room| room.has_or_wake(STEP_EVENTS, waker))
        {
            cols.ready_since[row] = None;
            cols.speaking[row].waited = true;
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
    let waited = now.saturating_duration_since(first);
    if plan.rows.len() == streams || waited >= coalesce {
        prefer_light(cols, plan);
        Decision::Step
    } else {
        Decision::WaitUntil(first + coalesce)
    }
}

/// Most light steps that go before a step of all rows.
const LIGHT_STEPS: u32 = 2;

// A stream that begins to speak needs some steps that give no audio and cost little. They go first, so that its first sound
// comes soon; after a few of them all rows step, so that nobody who speaks already runs out of audio.
fn prefer_light(cols: &EngineCols, plan: &mut BatchPlan) {
    let is_light = |row: &RowId| cols.speaking[*row].readiness == Readiness::Light;
    let lights = plan.rows.iter().filter(|row| is_light(row)).count();
    if lights == 0 || lights == plan.rows.len() {
        plan.lights = 0;
    } else if plan.lights < LIGHT_STEPS {
        plan.lights += 1;
        plan.rows.retain(is_light);
        // Rows that speak take no audio.
        plan.take.truncate(lights);
    } else {
        plan.lights = 0;
    }
}

// Returns the samples that the next step of `row` takes, if there is enough for one.
fn ready(cols: &EngineCols, row: RowId) -> Option<usize> {
    if cols.speaks {
        let steps = matches!(cols.speaking[row].readiness, Readiness::Light | Readiness::Full);
        return steps.then_some(0);
    }
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
