//! The output stage's thread: owns what is kept of each stream's output; knows no model and no sockets.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use super::speech::{self, Speech};
use super::transcript::{Step, Transcript};
use crate::model::Spec;
use crate::pipeline::columns::Col;
use crate::pipeline::frame::SoundPool;
use crate::pipeline::links::StepRx;
use crate::pipeline::outbox::{NotTaken, OutboxTx};
use crate::pipeline::tick::{RowEvent, TickOutput};
use crate::stream::end::{End, EndReason};
use crate::stream::ids::RowKey;
use crate::stream::output::Output;
use crate::stream::text::Detokenize;
use crate::telemetry::Meters;
use crate::telemetry::catalogue::{Speech as SpeechMeters, Transcription};
use crate::telemetry::labels::{FlushKind, LinkName, SpeechStep};

/// Called when a row's last event is out and the row is free.
pub type RowFree = Box<dyn Fn(RowKey) + Send>;

/// Makes events of what a model's steps gave.
pub enum Assembly {
    /// Tokens become words.
    Transcripts {
        text: Arc<dyn Detokenize>,
        meters: Transcription,
    },
    /// Frames and begun words become speech.
    Speech { sounds: SoundPool, meters: SpeechMeters },
}

/// What is kept of a stream's output.
enum Kept {
    Transcript(Transcript),
    Speech(Speech),
}

/// What the stage keeps of a stream.
struct Stream {
    epoch: u32,
    kept: Kept,
    outbox: OutboxTx,
}

/// The output stage of one pipeline.
pub struct OutputStage {
    streams: Col<Option<Stream>>,
    assembly: Assembly,
    delay: u32,
    heads: usize,
    frame: usize,
    row_free: RowFree,
    meters: Meters,
}

impl OutputStage {
    /// A stage for a model of `spec`.
    #[must_use]
    pub fn new(spec: &Spec, assembly: Assembly, row_free: RowFree, meters: Meters) -> Self {
        Self {
            streams: Col::new(spec.rows, || None),
            assembly,
            delay: spec.text_delay,
            heads: spec.pause_heads,
            frame: spec.frame_samples,
            row_free,
            meters,
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
        match &self.assembly {
            Assembly::Transcripts { .. } => self.transcribe(output),
            Assembly::Speech { meters, .. } => {
                if !output.keys.is_empty() {
                    let whole = output.step.sounds.contains(&true);
                    let kind = if whole {
                        SpeechStep::Full
                    } else {
                        SpeechStep::Light
                    };
                    meters.steps.of(kind).increment(1);
                }
                self.speak(output);
            }
        }
        for (key, event) in output.after.drain(..) {
            self.event(key, event);
        }
    }

    fn transcribe(&mut self, output: &TickOutput) {
        for (i, key) in output.keys.iter().enumerate() {
            let step = Step {
                token: output.step.tokens[i],
                pauses: &output.step.pauses[i * self.heads..][..self.heads],
                client_samples: output.client_samples[i],
                arrived: output.arrived[i],
                queued: output.buffered[i],
            };
            self.guarded(*key, |Stream { kept, outbox, .. }, assembly| {
                match (kept, assembly) {
                    (Kept::Transcript(transcript), Assembly::Transcripts { text, meters }) => {
                        transcript.step(&step, outbox, (&**text, meters))
                    }
                    _ => Ok(()),
                }
            });
        }
    }

    fn speak(&mut self, output: &TickOutput) {
        let mut spoken = output.step.spoken.iter().peekable();
        for (i, key) in output.keys.iter().enumerate() {
            let mut begun = std::iter::from_fn(|| {
                let next = spoken.next_if(|spoken| spoken.at <= i)?;
                Some((next.entry, next.frame))
            });
            let mut step = speech::Step {
                frame: output.step.sounds[i].then(|| &output.step.audio[i * self.frame..][..self.frame]),
                begun: &mut begun,
                waited: output.waited[i],
            };
            self.guarded(*key, |Stream { kept, outbox, .. }, assembly| {
                match (kept, assembly) {
                    (Kept::Speech(speech), Assembly::Speech { sounds, meters }) => {
                        speech.step(&mut step, outbox, (sounds, meters))
                    }
                    _ => Ok(()),
                }
            });
            // Of a stream that is over, nobody took it.
            begun.for_each(drop);
        }
    }

    fn event(&mut self, key: RowKey, event: RowEvent) {
        match event {
            RowEvent::Opened(outbox) => {
                self.streams[key.row] = Some(Stream {
                    epoch: key.epoch.get(),
                    kept: match &self.assembly {
                        Assembly::Transcripts { .. } => Kept::Transcript(Transcript::new(self.delay)),
                        Assembly::Speech { .. } => Kept::Speech(Speech::default()),
                    },
                    outbox,
                });
            }
            RowEvent::Ready => self.guarded(key, |stream, _| {
                if let Kept::Transcript(transcript) = &mut stream.kept {
                    transcript.reset();
                }
                stream.outbox.send(Output::Ready)
            }),
            RowEvent::Given(text) => self.guarded(key, |stream, _| {
                if let Kept::Speech(speech) = &mut stream.kept {
                    speech.given(text);
                }
                Ok(())
            }),
            RowEvent::Cancelled => self.guarded(key, |stream, _| match &mut stream.kept {
                Kept::Speech(speech) => {
                    let at = speech.cancel();
                    stream.outbox.send(Output::Cancelled { at })
                }
                Kept::Transcript(_) => Ok(()),
            }),
            RowEvent::Settled => self.guarded(key, |Stream { kept, outbox, .. }, assembly| {
                match (kept, assembly) {
                    (Kept::Transcript(transcript), Assembly::Transcripts { text, meters }) => {
                        transcript.settle(outbox, (&**text, meters))
                    }
                    (Kept::Speech(speech), Assembly::Speech { meters, .. }) => speech.settle(outbox, meters),
                    _ => Ok(()),
                }
            }),
            RowEvent::Mark { id, asked } => self.answer(key, Output::Mark { id }, FlushKind::Marker, asked),
            RowEvent::Flushed { asked } => self.answer(key, Output::Flushed, FlushKind::Flush, asked),
            RowEvent::Ended { asked } => {
                self.answer(key, Output::End, FlushKind::End, asked);
                self.close(key, EndReason::Done.into());
            }
            RowEvent::Failed(end) => self.close(key, end),
            RowEvent::Detached => {
                self.close(key, EndReason::ClientClosed.into());
                (self.row_free)(key);
            }
        }
    }

    fn answer(&mut self, key: RowKey, output: Output, kind: FlushKind, asked: Instant) {
        if let Assembly::Transcripts { meters, .. } = &self.assembly {
            meters.flush.of(kind).record(asked.elapsed().as_secs_f64());
        }
        self.guarded(key, |stream, _| stream.outbox.send(output));
    }

    // One stream's failure is its own: a client that is gone, or a bug its text found.
    fn guarded(&mut self, key: RowKey, act: impl FnOnce(&mut Stream, &Assembly) -> Result<(), NotTaken>) {
        let Some(stream) = self.streams[key.row]
            .as_mut()
            .filter(|s| s.epoch == key.epoch.get())
        else {
            return;
        };
        match catch_unwind(AssertUnwindSafe(|| act(stream, &self.assembly))) {
            Ok(Ok(())) => {}
            Ok(Err(NotTaken)) => {
                self.meters.links.full.of(LinkName::Outbox).increment(1);
                self.close(key, EndReason::SlowReader.into());
            }
            Err(_) => self.close(key, EndReason::EngineFailed.into()),
        }
    }

    fn close(&mut self, key: RowKey, end: End) {
        if let Some(stream) = self.streams[key.row].take_if(|s| s.epoch == key.epoch.get()) {
            match (&stream.kept, &self.assembly) {
                (Kept::Transcript(transcript), _) => transcript.record(&self.meters.sessions),
                (Kept::Speech(speech), Assembly::Speech { meters, .. }) => speech.record(meters),
                (Kept::Speech(_), Assembly::Transcripts { .. }) => {}
            }
            stream.outbox.finish(end);
        }
    }
}
