//! What the engine tells of each tick. No allocation, no lock.

use std::time::{Duration, Instant};

use metrics::Gauge;

use super::columns::EngineCols;
use super::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use super::links::STEP_LINK;
use super::systems::ingest::Ingested;
use super::words::output::TickOutput;
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
    steps: u32,
    frames: Share,
    ring: Share,
    outputs: Share,
}

/// This module's part of a gauge that all modules add to.
struct Share {
    gauge: Gauge,
    last: f64,
}

impl Share {
    fn set(&mut self, value: usize) {
        let value = value as f64;
        self.gauge.increment(value - self.last);
        self.last = value;
    }
}

impl EngineGauges {
    pub(super) fn new(meters: Meters, engine: Engine) -> Self {
        let share = |link| Share {
            gauge: meters.links.depth.of(link).clone(),
            last: 0.0,
        };
        Self {
            frames: share(SharedLink::Frames),
            ring: share(SharedLink::Ring),
            outputs: share(SharedLink::Steps),
            capacity: Capacity::default(),
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
        self.frames.set(frames);
        self.ring
            .set(cols.ring.iter().map(|ring| ring.len() / FRAME_SAMPLES).sum());
        self.outputs.set(outputs);
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
                mimi: out.step.codec,
                lm: out.step.lm,
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
            self.engine.capacity.set(self.capacity.estimate().unwrap_or(0.0));
        }
    }
}
