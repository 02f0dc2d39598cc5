//! The names Kyutai's server exports for speech to text, for dashboards that were made for it. Off unless
//! `telemetry.kyutai_metrics = true`.

use std::sync::Arc;

use metrics::{Counter, Gauge, Histogram, HistogramFn};

use super::catalogue::{EngineMeters, Sessions};
use super::instrument::{Cell, Instrument, Metric, MetricKind, Store, Unit};
use super::labels::{Pair, StepStage};
use crate::stream::frame::FRAME_RATE;

/// Kyutai's counters and gauges all have this label.
const HANDLER: Pair = ("handler", std::borrow::Cow::Borrowed("all"));

const fn entry(
    name: &'static str,
    kind: MetricKind,
    unit: Unit,
    help: &'static str,
    buckets: &'static [f64],
) -> Metric {
    let labels = <Gauge as Instrument>::labels;
    let hidden = Some("Kyutai's name: dashboards made for Kyutai's server show it");
    Metric {
        name,
        kind,
        unit,
        help,
        buckets,
        labels,
        hidden,
    }
}

const CONNECT: Metric = entry(
    "asr_connect",
    MetricKind::Counter,
    Unit::Of("sessions"),
    "Sessions that were given a row, as moshi_session_started_total.",
    &[],
);
const OPEN_CHANNELS: Metric = entry(
    "asr_open_channels",
    MetricKind::Gauge,
    Unit::Of("rows"),
    "Streams that have a row now, as moshi_engine_used_rows.",
    &[],
);
const STEP_DURATION: Metric = entry(
    "asr_model_step_duration",
    MetricKind::Histogram,
    Unit::Seconds,
    "Time one step took, as moshi_engine_step_seconds{stage=\"total\"}.",
    &[0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08],
);
const NUM_STEPS: Metric = entry(
    "asr_connection_num_steps",
    MetricKind::Histogram,
    Unit::Of("steps"),
    "Frames heard from one session, as moshi_session_audio_seconds.",
    &[
        2.0, 25.0, 125.0, 250.0, 500.0, 750.0, 1125.0, 1500.0, 2250.0, 3000.0, 4500.0,
    ],
);

/// The old names.
pub const CATALOGUE: &[Metric] = &[CONNECT, OPEN_CHANNELS, STEP_DURATION, NUM_STEPS];

/// Keeps the old names in step with ours.
pub(super) struct Legacy {
    connect: Counter,
    open_channels: Gauge,
    step_duration: Histogram,
    num_steps: Histogram,
}

impl Legacy {
    pub(super) fn register(store: &Store) -> Self {
        Self {
            connect: Counter::register(store, &CONNECT, &[HANDLER]),
            open_channels: Gauge::register(store, &OPEN_CHANNELS, &[HANDLER]),
            step_duration: Histogram::register(store, &STEP_DURATION, &[]),
            num_steps: Histogram::register(store, &NUM_STEPS, &[]),
        }
    }

    /// What `sessions` records from now on is recorded under the old names too.
    pub(super) fn follow_sessions(&self, sessions: &mut Sessions) {
        sessions.heard = both(&sessions.heard, &self.num_steps, FRAME_RATE);
    }

    /// What `engine` records from now on is recorded under the old names too.
    pub(super) fn follow_engine(&self, engine: &mut EngineMeters) {
        engine
            .step
            .replace(StepStage::Total, |step| both(step, &self.step_duration, 1.0));
    }

    /// Sums what the old names have no labels for.
    pub(super) fn refresh(&self, store: &Store) {
        let (mut started, mut used) = (0, 0.0);
        store.each(|series| match (series.metric.name, &series.cell) {
            ("moshi_session_started_total", Cell::Counter(cell)) => {
                started += cell.load(std::sync::atomic::Ordering::Relaxed);
            }
            ("moshi_engine_used_rows", Cell::Gauge(cell)) => {
                used += f64::from_bits(cell.load(std::sync::atomic::Ordering::Relaxed));
            }
            _ => {}
        });
        self.connect.absolute(started);
        self.open_channels.set(used);
    }
}

struct Both {
    ours: Histogram,
    theirs: Histogram,
    scale: f64,
}

impl HistogramFn for Both {
    fn record(&self, value: f64) {
        self.ours.record(value);
        self.theirs.record(value * self.scale);
    }
}

fn both(ours: &Histogram, theirs: &Histogram, scale: f64) -> Histogram {
    let (ours, theirs) = (ours.clone(), theirs.clone());
    Histogram::from_arc(Arc::new(Both { ours, theirs, scale }))
}
