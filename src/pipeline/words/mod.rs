//! The words stage: tokens of each row become words with times. Owns the word columns; knows no model and no sockets.

pub mod assembler;
pub mod clock;
pub mod outbox;
pub mod output;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::assembler::{Heard, WordMachine};
use self::clock::RowClock;
use self::outbox::{NotTaken, OutboxTx};
use self::output::{RowEvent, TickOutput};
use super::columns::Col;
use super::links::StepRx;
use crate::model::Spec;
use crate::protocol::server::{Pauses, ServerMsg};
use crate::stream::end::EndReason;
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use crate::stream::ids::RowKey;
use crate::stream::text::Detokenize;
use crate::telemetry::Meters;
use crate::telemetry::labels::{FlushKind, LinkName};
use crate::telemetry::metrics::Engine as EngineMeters;

/// Told when a row's last message is out and the row is free.
pub type RowFree = Box<dyn Fn(RowKey) + Send>;

/// What the stage keeps of a stream.
struct Stream {
    epoch: u32,
    machine: WordMachine,
    clock: RowClock,
    /// Frames of the client's audio.
    frames: u64,
    /// Samples of it.
    heard: u64,
    /// When its first and its latest audio came.
    came: Option<(Instant, Instant)>,
    words: u64,
    outbox: OutboxTx,
}

/// The words stage.
pub struct Words {
    streams: Col<Option<Stream>>,
    text: Arc<dyn Detokenize>,
    delay: u32,
    heads: usize,
    row_free: RowFree,
    meters: Meters,
    engine: EngineMeters,
}

impl Words {
    #[must_use]
    pub fn new(
        spec: &Spec,
        text: Arc<dyn Detokenize>,
        row_free: RowFree,
        (meters, engine): (Meters, EngineMeters),
    ) -> Self {
        Self {
            streams: Col::new(spec.rows, || None),
            text,
            delay: spec.text_delay,
            heads: spec.pause_heads,
            row_free,
            meters,
            engine,
        }
    }

    /// Runs until the engine ends.
    pub fn run(mut self, input: &StepRx) {
        while let Some(mut output) = input.recv() {
            self.apply(&mut output);
            input.give_back(output);
        }
    }

    /// Applies the output of one tick.
    pub fn apply(&mut self, output: &mut TickOutput) {
        for (key, event) in output.before.drain(..) {
            self.event(key, event);
        }
        for (i, key) in output.keys.iter().enumerate() {
            let pauses = &output.step.pauses[i * self.heads..][..self.heads];
            let (token, heard, buffered) = (output.step.tokens[i], output.heard[i], output.buffered[i]);
            let arrived = output.arrived[i];
            self.guarded(*key, |stream, text, meters| {
                stream.hears(heard, arrived);
                stream.step(token, pauses, heard, buffered, (text, meters))
            });
        }
        for (key, event) in output.after.drain(..) {
            self.event(key, event);
        }
    }

    fn event(&mut self, key: RowKey, event: RowEvent) {
        match event {
            RowEvent::Opened(outbox) => {
                self.streams[key.row] = Some(Stream {
                    epoch: key.epoch.get(),
                    machine: WordMachine::new(self.delay, f64::from(SAMPLE_RATE) / FRAME_SAMPLES as f64),
                    clock: RowClock::default(),
                    frames: 0,
                    heard: 0,
                    came: None,
                    words: 0,
                    outbox,
                });
            }
            RowEvent::Ready => self.guarded(key, |stream, _, _| {
                stream.machine.reset(stream.machine.frames());
                stream.outbox.send(ServerMsg::Ready)
            }),
            RowEvent::Settled => self.guarded(key, Stream::settle),
            RowEvent::Mark { id, asked } => {
                self.answer(key, ServerMsg::Marker { id }, FlushKind::Marker, asked)
            }
            RowEvent::Flushed { asked } => self.answer(key, ServerMsg::Flushed, FlushKind::Flush, asked),
            RowEvent::Ended { asked } => {
                self.answer(key, ServerMsg::EndOfStream, FlushKind::End, asked);
                self.close(key, EndReason::Done);
            }
            RowEvent::Failed(reason) => self.close(key, reason),
            RowEvent::Detached => {
                self.close(key, EndReason::ClientClosed);
                (self.row_free)(key);
            }
        }
    }

    fn answer(&mut self, key: RowKey, message: ServerMsg, kind: FlushKind, asked: Instant) {
        self.engine.flush.of(kind).record(asked.elapsed().as_secs_f64());
        self.guarded(key, |stream, _, _| stream.outbox.send(message));
    }

    // One stream's failure is its own: a client that does not read, or a bug its text found.
    fn guarded(
        &mut self,
        key: RowKey,
        act: impl FnOnce(&mut Stream, &dyn Detokenize, &EngineMeters) -> Result<(), NotTaken>,
    ) {
        let Some(stream) = self.streams[key.row]
            .as_mut()
            .filter(|s| s.epoch == key.epoch.get())
        else {
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| act(stream, &*self.text, &self.engine))) {
            Ok(Ok(())) => {}
            Ok(Err(NotTaken)) => {
                self.meters.links.full.of(LinkName::Outbox).increment(1);
                self.close(key, EndReason::SlowReader);
            }
            Err(_) => self.close(key, EndReason::EngineFailed),
        }
    }

    fn close(&mut self, key: RowKey, reason: EndReason) {
        if let Some(stream) = self.streams[key.row].take_if(|s| s.epoch == key.epoch.get()) {
            if let Some((first, last)) = stream.came {
                let heard = stream.heard as f64 / f64::from(SAMPLE_RATE);
                // The first frame was spoken before it came.
                let took =
                    last.duration_since(first).as_secs_f64() + FRAME_SAMPLES as f64 / f64::from(SAMPLE_RATE);
                self.meters.sessions.heard.record(heard);
                self.meters.sessions.speed.record(heard / took);
            }
            stream.outbox.finish(reason);
        }
    }
}

impl Stream {
    fn hears(&mut self, samples: u16, arrived: Option<Instant>) {
        self.heard += u64::from(samples);
        if let Some(arrived) = arrived {
            self.came = Some((self.came.map_or(arrived, |(first, _)| first), arrived));
        }
    }

    /// Counts a word that begins at `start`, in seconds of this stream's audio.
    fn count(
        came: Option<(Instant, Instant)>,
        words: &mut u64,
        heard: u64,
        start: f64,
        meters: &EngineMeters,
    ) {
        meters.words.increment(1);
        *words += 1;
        let Some((first, last)) = came else { return };
        if *words == 1 {
            meters.first_word.record(first.elapsed().as_secs_f64());
        }
        // The audio at `start` came as much earlier than the latest as it lies before it.
        let spoken = heard as f64 / f64::from(SAMPLE_RATE) - start;
        let since = Duration::try_from_secs_f64(spoken).unwrap_or_default();
        meters.word.record((last.elapsed() + since).as_secs_f64());
    }

    fn step(
        &mut self,
        token: u32,
        pauses: &[f32],
        heard: u16,
        buffered: u32,
        (text, meters): (&dyn Detokenize, &EngineMeters),
    ) -> Result<(), NotTaken> {
        self.clock.step(u64::from(heard));
        if heard > 0 {
            if !pauses.is_empty() {
                self.outbox.send(ServerMsg::Step {
                    step_idx: self.frames,
                    prs: pauses
                        .iter()
                        .copied()
                        .take(Pauses::new_const().capacity())
                        .collect(),
                    buffered_pcm: buffered,
                })?;
            }
            self.frames += 1;
        }
        let mut sent = Ok(());
        let Self {
            machine,
            clock,
            outbox,
            came,
            words,
            heard: total,
            ..
        } = self;
        machine.step(token, pauses, text, &mut |heard| {
            if let Heard::Word { start, .. } = &heard {
                Self::count(*came, words, *total, clock.audio(*start), meters);
            }
            sent = std::mem::replace(&mut sent, Ok(())).and_then(|()| outbox.send(message(clock, heard)));
        });
        sent
    }

    fn settle(&mut self, text: &dyn Detokenize, meters: &EngineMeters) -> Result<(), NotTaken> {
        let mut sent = Ok(());
        let Self {
            machine,
            clock,
            outbox,
            came,
            words,
            heard: total,
            ..
        } = self;
        machine.finish(text, &mut |heard| {
            if let Heard::Word { start, .. } = &heard {
                Self::count(*came, words, *total, clock.audio(*start), meters);
            }
            sent = std::mem::replace(&mut sent, Ok(())).and_then(|()| outbox.send(message(clock, heard)));
        });
        sent
    }
}

fn message(clock: &RowClock, heard: Heard) -> ServerMsg {
    match heard {
        Heard::Word { text, start } => ServerMsg::Word {
            text,
            start_time: clock.audio(start),
        },
        Heard::EndWord { stop } => ServerMsg::EndWord {
            stop_time: clock.audio(stop),
        },
    }
}
