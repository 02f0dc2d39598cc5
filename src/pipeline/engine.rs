//! The engine: one thread that owns the model and the engine's columns.
//!
//! [`Engine::tick`] is told the time and does no input or output of its own, so tests drive it by hand; it reads the clock
//! only to measure how long the step took.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant};

use super::bounds::Bounds;
use super::columns::EngineCols;
use super::links::{Arrival, PcmRx, StepTx};
use super::messages::Pcm;
use super::metrics::EngineGauges;
use super::systems::ingest::{self, Ingested};
use super::systems::plan::{BatchPlan, Decision};
use super::systems::{expire, plan, resolve, speak, step};
use super::tick::TickOutput;
use crate::model::{ModelError, Ports, Spec, StreamModel, Tail};
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};

/// Why the engine ended before its input did. It ends the sessions on its device.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error("the output stage has ended")]
    OutputGone,
}

/// A model with frames of a length or rate that this server does not support.
#[derive(Debug, thiserror::Error)]
#[error(
    "the model takes {frame_samples} samples per frame at {sample_rate} Hz with {ports:?}; this server feeds \
     {FRAME_SAMPLES} at {SAMPLE_RATE} Hz to models with {:?} or {:?}",
    Ports::TRANSCRIPTION,
    Ports::SPEECH
)]
pub struct Unsupported {
    frame_samples: usize,
    sample_rate: u32,
    ports: Ports,
}

/// What a tick did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tick {
    /// A step was done; there may be more at once.
    Stepped,
    /// Nothing to do until then, or until something arrives.
    Idle(Option<Instant>),
    /// The input stage has ended and nothing is left to do.
    Closed,
}

/// Lets other threads see how long the current step has been running.
pub struct Heart {
    base: Instant,
    /// Nanoseconds since `base` at which the current step began; 0 between steps.
    busy_since: AtomicU64,
}

impl Default for Heart {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            busy_since: AtomicU64::new(0),
        }
    }
}

impl Heart {
    fn begin(&self) {
        let nanos = u64::try_from(self.base.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.busy_since.store(nanos.max(1), Ordering::Release);
    }

    fn end(&self) {
        self.busy_since.store(0, Ordering::Release);
    }

    /// Returns how long the current step has been running; zero between steps.
    #[must_use]
    pub fn busy_for(&self) -> Duration {
        match self.busy_since.load(Ordering::Acquire) {
            0 => Duration::ZERO,
            since => self.base.elapsed().saturating_sub(Duration::from_nanos(since)),
        }
    }
}

/// The model, the columns and the ends of the links.
pub struct Engine {
    model: Box<dyn StreamModel>,
    delay: u32,
    coalesce: Duration,
    cols: EngineCols,
    plan: BatchPlan,
    pcm: Vec<f32>,
    input: PcmRx,
    /// Wakes the engine when a client whose row waits has read.
    waker: Waker,
    output: StepTx,
    /// Filled during a tick, exchanged at its end. None only after the output stage has ended.
    out: Option<Box<TickOutput>>,
    seen: Ingested,
    heart: Arc<Heart>,
    gauges: EngineGauges,
}

impl Engine {
    /// Checks that `spec` is a model this server can feed.
    ///
    /// # Errors
    /// The model has other frames or ports.
    pub fn check(spec: &Spec) -> Result<(), Unsupported> {
        let frames = (spec.frame_samples, spec.sample_rate) == (FRAME_SAMPLES, SAMPLE_RATE);
        if frames && [Ports::TRANSCRIPTION, Ports::SPEECH].contains(&spec.ports) {
            return Ok(());
        }
        Err(Unsupported {
            frame_samples: spec.frame_samples,
            sample_rate: spec.sample_rate,
            ports: spec.ports,
        })
    }

    pub(super) fn new(
        model: Box<dyn StreamModel>,
        bounds: Bounds,
        coalesce: Duration,
        (input, waker): (PcmRx, Waker),
        (output, first): (StepTx, Box<TickOutput>),
        (heart, gauges): (Arc<Heart>, EngineGauges),
    ) -> Self {
        let delay = match model.spec().tail {
            Tail::Silence { frames } => frames,
            Tail::RunDry => 0,
        };
        let mut cols = EngineCols::new(bounds);
        cols.speaks = model.spec().ports == Ports::SPEECH;
        Self {
            delay,
            model,
            coalesce,
            cols,
            plan: BatchPlan::new(bounds.rows),
            pcm: vec![0.0; bounds.rows * FRAME_SAMPLES],
            input,
            waker,
            output,
            out: Some(first),
            seen: Ingested::default(),
            heart,
            gauges,
        }
    }

    /// Runs until the input stage ends.
    ///
    /// # Errors
    /// The model failed, or the output stage ended first.
    pub fn run(mut self) -> Result<(), EngineError> {
        loop {
            match self.tick(Instant::now())? {
                Tick::Stepped => {}
                Tick::Closed => return Ok(()),
                Tick::Idle(until) => {
                    if let Arrival::Message(message) = self.input.wait(until) {
                        self.accept(message, Instant::now());
                    }
                }
            }
        }
    }

    /// Does everything that is due at `now`. The order of the systems is this function.
    ///
    /// # Errors
    /// The model failed, or the output stage ended.
    pub fn tick(&mut self, now: Instant) -> Result<Tick, EngineError> {
        let closed = self.drain_input(now);
        let out = self.out.as_mut().ok_or(EngineError::OutputGone)?;
        let cols = &mut self.cols;
        self.gauges
            .on_ingest(&mut self.seen, cols, self.input.depth(), self.output.depth());
        let patience = expire::expire(cols, now);
        for row in cols.rows() {
            resolve::resolve(cols, row, self.delay, &mut out.before);
        }
        step::reset(cols, &mut *self.model, out);
        speak::speak(cols, &mut *self.model, out);
        let decision = plan::plan(cols, now, self.coalesce, &self.waker, &mut self.plan);
        if decision == Decision::Step {
            let began = Instant::now();
            step::stage(cols, &self.plan, &mut self.pcm, out);
            self.heart.begin();
            step::step(&mut *self.model, &self.plan, &self.pcm, out)?;
            self.heart.end();
            let ended = Instant::now();
            self.gauges.on_step(out, ended - began, ended);
            speak::begun(cols, &self.plan.rows, &out.step.spoken);
            for row in &self.plan.rows {
                resolve::resolve(cols, *row, self.delay, &mut out.after);
            }
        }
        self.emit()?;
        Ok(match decision {
            Decision::Step => Tick::Stepped,
            Decision::Nothing if closed => Tick::Closed,
            Decision::Nothing => Tick::Idle(patience),
            Decision::WaitUntil(until) => Tick::Idle(Some(patience.map_or(until, |p| p.min(until)))),
        })
    }

    fn drain_input(&mut self, now: Instant) -> bool {
        loop {
            match self.input.try_recv() {
                Arrival::Message(message) => self.accept(message, now),
                Arrival::Nothing => return false,
                Arrival::Closed => return true,
            }
        }
    }

    fn accept(&mut self, message: Pcm, now: Instant) {
        if let Some(out) = &mut self.out {
            ingest::ingest(&mut self.cols, message, now, out, &mut self.seen);
        }
    }

    fn emit(&mut self) -> Result<(), EngineError> {
        match self.out.take() {
            Some(out) if !out.is_empty() => self.out = self.output.exchange(out),
            untouched => self.out = untouched,
        }
        if self.out.is_none() {
            Err(EngineError::OutputGone)
        } else {
            Ok(())
        }
    }
}
