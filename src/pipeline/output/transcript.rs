//! The transcript of one stream: tokens and pauses of its steps become events with times of the client's audio.

use std::time::{Duration, Instant};

use super::clock::RowClock;
use super::words::{WordEvent, WordMachine};
use crate::pipeline::outbox::{NotTaken, OutboxTx, STEP_EVENTS};
use crate::stream::frame::{FRAME_DURATION, FRAME_RATE, seconds};
use crate::stream::output::{MAX_PAUSE_HEADS, Output};
use crate::stream::text::Detokenize;
use crate::telemetry::catalogue::{Sessions, Transcription};

/// One row of a step, as the engine reports it.
pub(super) struct Step<'a> {
    pub token: u32,
    /// Pause probabilities, one per head; empty where the model predicts none.
    pub pauses: &'a [f32],
    /// Samples of the frame that came from the client; the rest was silence added by the engine.
    pub client_samples: u16,
    /// When the last of them arrived.
    pub arrived: Option<Instant>,
    /// Samples that wait for the model.
    pub queued: u32,
}

/// The transcript of one stream so far.
pub(super) struct Transcript {
    machine: WordMachine,
    clock: RowClock,
    /// Frames with audio of the client.
    client_frames: u64,
    /// Samples of the client.
    client_samples: u64,
    /// When the client's first and its latest audio arrived.
    first_and_latest_audio: Option<(Instant, Instant)>,
    words: u64,
}

impl Transcript {
    /// An empty transcript of a model whose text lags its audio by `delay` frames.
    pub(super) fn new(delay: u32) -> Self {
        Self {
            machine: WordMachine::new(delay, FRAME_RATE),
            clock: RowClock::default(),
            client_frames: 0,
            client_samples: 0,
            first_and_latest_audio: None,
            words: 0,
        }
    }

    /// The row's model state was reset: words begin anew, the clock goes on.
    pub(super) fn reset(&mut self) {
        self.machine.reset(self.machine.frames());
    }

    /// Takes one step. Its events go to `outbox`; credits of the events it might have had and had not go back.
    ///
    /// # Errors
    /// The outbox takes nothing any more.
    pub(super) fn step(
        &mut self,
        step: &Step<'_>,
        outbox: &OutboxTx,
        (text, meters): (&dyn Detokenize, &Transcription),
    ) -> Result<(), NotTaken> {
        let mut sent = 0;
        let result = self.step_events(step, (text, meters), &mut |output| {
            sent += 1;
            outbox.send_of_step(output)
        });
        outbox.credits().give(STEP_EVENTS.saturating_sub(sent));
        result
    }

    fn step_events(
        &mut self,
        step: &Step<'_>,
        (text, meters): (&dyn Detokenize, &Transcription),
        send: &mut dyn FnMut(Output) -> Result<(), NotTaken>,
    ) -> Result<(), NotTaken> {
        self.client_samples += u64::from(step.client_samples);
        if let Some(arrived) = step.arrived {
            let first = self.first_and_latest_audio.map_or(arrived, |(first, _)| first);
            self.first_and_latest_audio = Some((first, arrived));
        }
        self.clock.step(u64::from(step.client_samples));
        if step.client_samples > 0 {
            send(Output::Step {
                frame: self.client_frames,
                pauses: step.pauses.iter().copied().take(MAX_PAUSE_HEADS).collect(),
                queued: step.queued,
            })?;
            self.client_frames += 1;
        }
        self.words(meters, send, |machine, emit| {
            machine.step(step.token, step.pauses, text, emit);
        })
    }

    /// All audio so far was stepped to its end: completes the word that is still open.
    ///
    /// # Errors
    /// The outbox takes nothing any more.
    pub(super) fn settle(
        &mut self,
        outbox: &OutboxTx,
        (text, meters): (&dyn Detokenize, &Transcription),
    ) -> Result<(), NotTaken> {
        self.words(meters, &mut |output| outbox.send(output), |machine, emit| {
            machine.finish(text, emit);
        })
    }

    fn words(
        &mut self,
        meters: &Transcription,
        send: &mut dyn FnMut(Output) -> Result<(), NotTaken>,
        act: impl FnOnce(&mut WordMachine, &mut dyn FnMut(WordEvent)),
    ) -> Result<(), NotTaken> {
        let mut result = Ok(());
        let Self {
            machine,
            clock,
            client_samples,
            first_and_latest_audio,
            words,
            ..
        } = self;
        act(machine, &mut |event| {
            let output = match event {
                WordEvent::Word { text, start } => {
                    let start = clock.audio(start);
                    *words += 1;
                    let came = *first_and_latest_audio;
                    record_word(*words, start, seconds(*client_samples), came, meters);
                    Output::Word { text, start }
                }
                WordEvent::End { stop } => Output::WordEnd {
                    stop: clock.audio(stop),
                },
            };
            if result.is_ok() {
                result = send(output);
            }
        });
        result
    }

    /// Records what there is to say of the stream once it is over.
    pub(super) fn record(&self, meters: &Sessions) {
        let Some((first, latest)) = self.first_and_latest_audio else {
            return;
        };
        let heard = seconds(self.client_samples);
        // The first frame was spoken before it arrived.
        let took = latest.duration_since(first) + FRAME_DURATION;
        meters.heard.record(heard);
        meters.speed.record(heard / took.as_secs_f64());
    }
}

/// Records the `nth` word of a stream, which begins `start` seconds into the client's audio, of which `heard` seconds have
/// arrived, the first and the latest at `came`.
fn record_word(nth: u64, start: f64, heard: f64, came: Option<(Instant, Instant)>, meters: &Transcription) {
    meters.words.increment(1);
    let Some((first, latest)) = came else { return };
    if nth == 1 {
        meters.first_word.record(first.elapsed().as_secs_f64());
    }
    // The audio at `start` came as much earlier than the latest as it lies before it.
    let since = Duration::try_from_secs_f64(heard - start).unwrap_or_default();
    meters.word.record((latest.elapsed() + since).as_secs_f64());
}
