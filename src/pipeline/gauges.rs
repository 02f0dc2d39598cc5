//! What the engine tells of each tick. No allocation, no lock.

use std::time::{Duration, Instant};

use metrics::Gauge;

use super::columns::EngineCols;
use super::links::STEP_LINK;
use super::systems::ingest::Ingested;
use super::words::output::TickOutput;
use crate::model::Part;
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use crate::telemetry::Meters;
use crate::telemetry::capacity::Capacity;
use crate::telemetry::labels::{Dropped, LinkName, SharedLink};
use crate::telemetry::metrics::Engine;
use crate::telemetry::record::StepTimes;

/// Steps between two estimates of the capacity: about a second.
const ESTIMATE_EVERY: u32 = 12;

/// The engine's handles, and what it has to remember for them.
pub(super) struct EngineGauges {
    meters: Meters,
    engine: Engine,
    capacity: Capacity,
    estimate: Share,
    steps: u32,
    frames: Share,
    ring: Share,
    outputs: Share,
}

/// This engine's part of a gauge that all engines add to. It goes when the engine does.
struct Share {
    gauge: Gauge,
    last: f64,
}

impl Share {
    fn of(gauge: Gauge) -> Self {
        Self { gauge, last: 0.0 }
    }

    fn set(&mut self, value: f64) {
        self.gauge.increment(value - self.last);
        self.last = value;
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(0.0);
    }
}

impl EngineGauges {
    pub(super) fn new(meters: Meters, engine: Engine) -> Self {
        let share = |link| Share::of(meters.links.depth.of(link).clone());
        Self {
            frames: share(SharedLink::Frames),
            ring: share(SharedLink::Ring),
            outputs: share(SharedLink::Steps),
            capacity: Capacity::default(),
            estimate: Share::of(engine.capacity.clone()),
            steps: 0,
            meters,
            engine,
        }
    }

    /// What arrived since the last tick, and what is left in the links.
    pub(super) fn looked(&mut self, seen: &mut Ingested, cols: &EngineCols, frames: usize, outputs: usize) {
        let seen = std::mem::take(seen);
        self.meters.sessions.illegal.increment(seen.illegal);
        if seen.dropped > 0 {
            self.meters
                .audio
                .dropped
                .of(Dropped::SessionEnded)
                .add_samples(seen.dropped, SAMPLE_RATE);
        }
        self.frames.set(frames as f64);
        let whole: usize = cols.ring.iter().map(|ring| ring.len() / FRAME_SAMPLES).sum();
        self.ring.set(whole as f64);
        self.outputs.set(outputs as f64);
        if outputs >= STEP_LINK {
            self.meters.links.full.of(LinkName::Steps).increment(1);
        }
    }

    /// A step of the rows in `out` took `total`.
    pub(super) fn stepped(&mut self, out: &TickOutput, total: Duration, now: Instant) {
        let rows = out.keys.len();
        self.engine.stepped(
            rows,
            StepTimes {
                mimi: out.step.parts.of(Part::MimiEncoder),
                lm: out.step.parts.of(Part::Lm),
                total,
            },
        );
        for arrived in out.arrived.iter().flatten() {
            self.engine
                .lag
                .record(now.saturating_duration_since(*arrived).as_secs_f64());
        }
        self.capacity.saw(rows, total);
        self.steps += 1;
        if self.steps.is_multiple_of(ESTIMATE_EVERY) {
            self.estimate.set(self.capacity.estimate().unwrap_or(0.0));
        }
    }
}
