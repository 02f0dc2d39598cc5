//! The output stage's thread: owns what is kept of each stream's output; knows no model and no sockets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::transcript::{Step, Transcript};
use crate::model::Spec;
use crate::pipeline::columns::Col;
use crate::pipeline::links::StepRx;
use crate::pipeline::outbox::{NotTaken, OutboxTx};
use crate::pipeline::tick::{RowEvent, TickOutput};
use crate::stream::end::EndReason;
use crate::stream::ids::RowKey;
use crate::stream::output::Output;
use crate::stream::text::Detokenize;
use crate::telemetry::Meters;
use crate::telemetry::catalogue::Transcription;
use crate::telemetry::labels::{FlushKind, LinkName};

/// Called when a row's last event is out and the row is free.
pub type RowFree = Box<dyn Fn(RowKey) + Send>;

/// What the stage keeps of a stream.
struct Stream {
    epoch: u32,
    transcript: Transcript,
    outbox: OutboxTx,
}

/// The output stage of one pipeline.
pub struct OutputStage {
    streams: Col<Option<Stream>>,
    text: Arc<dyn Detokenize>,
    delay: u32,
    heads: usize,
    row_free: RowFree,
    meters: Meters,
    transcription: Transcription,
}

impl OutputStage {
    /// A stage for a model of `spec` whose tokens `text` reads.
    #[must_use]
    pub fn new(
        spec: &Spec,
        text: Arc<dyn Detokenize>,
        row_free: RowFree,
        meters: Meters,
        transcription: Transcription,
    ) -> Self {
        Self {
            streams: Col::new(spec.rows, || None),
            text,
            delay: spec.text_delay,
            heads: spec.pause_heads,
            row_free,
            meters,
            transcription,
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
            let step = Step {
                token: output.step.tokens[i],
                pauses: &output.step.pauses[i * self.heads..][..self.heads],
                client_samples: output.client_samples[i],
                arrived: output.arrived[i],
                queued: output.buffered[i],
            };
            self.guarded(*key, |stream, text, meters| {
                stream.transcript.step(&step, &stream.outbox, (text, meters))
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
                    transcript: Transcript::new(self.delay),
                    outbox,
                });
            }
            RowEvent::Ready => self.guarded(key, |stream, _, _| {
                stream.transcript.reset();
                stream.outbox.send(Output::Ready)
            }),
            RowEvent::Settled => self.guarded(key, |stream, text, meters| {
                stream.transcript.settle(&stream.outbox, (text, meters))
            }),
            RowEvent::Mark { id, asked } => self.answer(key, Output::Mark { id }, FlushKind::Marker, asked),
            RowEvent::Flushed { asked } => self.answer(key, Output::Flushed, FlushKind::Flush, asked),
            RowEvent::Ended { asked } => {
                self.answer(key, Output::End, FlushKind::End, asked);
                self.close(key, EndReason::Done);
            }
            RowEvent::Failed(reason) => self.close(key, reason),
            RowEvent::Detached => {
                self.close(key, EndReason::ClientClosed);
                (self.row_free)(key);
            }
        }
    }

    fn answer(&mut self, key: RowKey, output: Output, kind: FlushKind, asked: Instant) {
        self.transcription
            .flush
            .of(kind)
            .record(asked.elapsed().as_secs_f64());
        self.guarded(key, |stream, _, _| stream.outbox.send(output));
    }

    // One stream's failure is its own: a client that is gone, or a bug its text found.
    fn guarded(
        &mut self,
        key: RowKey,
        act: impl FnOnce(&mut Stream, &dyn Detokenize, &Transcription) -> Result<(), NotTaken>,
    ) {
        let Some(stream) = self.streams[key.row]
            .as_mut()
            .filter(|s| s.epoch == key.epoch.get())
        else {
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| act(stream, &*self.text, &self.transcription))) {
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
            stream.transcript.record(&self.meters.sessions);
            stream.outbox.finish(reason);
        }
    }
}
