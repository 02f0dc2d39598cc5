//! The speech of one stream: what its row says becomes frames and words with times of the audio that its client is sent.

use std::collections::VecDeque;
use std::time::Instant;

use crate::pipeline::frame::SoundPool;
use crate::pipeline::outbox::{NotTaken, OutboxTx, STEP_EVENTS};
use crate::stream::frame::{FRAME_DURATION, FRAME_RATE};
use crate::stream::output::Output;
use crate::telemetry::catalogue::Speech as Meters;

/// One row of a step, as the engine reports it.
pub(super) struct Step<'a> {
    /// The frame that the step gave, if it gave one.
    pub frame: Option<&'a [f32]>,
    /// Numbers of the entries that the row began to say, and the frames in which they begin, both since its last reset.
    pub begun: &'a mut dyn Iterator<Item = (u32, u64)>,
    /// The row has waited for its client since its last step.
    pub waited: bool,
}

/// The speech of one stream so far.
#[derive(Default)]
pub(super) struct Speech {
    /// What the client is told of the entries that the model was given and has not begun.
    given: VecDeque<Box<str>>,
    /// Number of the first of them since the row's last reset.
    next: u32,
    /// The entry that is being said, and the frame of the stream in which it begins.
    open: Option<(Box<str>, u64)>,
    /// Frames of the stream before the row's last reset.
    base: u64,
    /// Frames of the stream.
    frames: u64,
    /// When the first text arrived that nothing was heard of yet.
    asked: Option<Instant>,
    /// When the first frame came.
    began: Option<Instant>,
    playback: Playback,
}

/// A client that plays what it is sent as it comes.
#[derive(Default)]
struct Playback {
    /// When it will have played all frames so far. None before the first, and after the row has waited for its client.
    until: Option<Instant>,
}

impl Playback {
    /// Takes a frame that came at `now`. True where the player had run out before.
    fn frame(&mut self, now: Instant) -> bool {
        let late = self.until.is_some_and(|until| until < now);
        let from = self.until.map_or(now, |until| until.max(now));
        self.until = Some(from + FRAME_DURATION);
        late
    }
}

impl Speech {
    /// The model was given a word or a pause, which a client is told of as `text`.
    pub(super) fn given(&mut self, text: Box<str>) {
        self.asked.get_or_insert_with(Instant::now);
        self.given.push_back(text);
    }

    /// Takes one step. Its events go to `outbox`; credits of the events it might have had and had not go back.
    ///
    /// # Errors
    /// The outbox takes nothing any more.
    pub(super) fn step(
        &mut self,
        step: &mut Step<'_>,
        outbox: &OutboxTx,
        (sounds, meters): (&SoundPool, &Meters),
    ) -> Result<(), NotTaken> {
        let mut sent = 0;
        let result = self.step_events(step, (sounds, meters), &mut |output| {
            sent += 1;
            // A model that begins several entries in one step is rare; the outbox has room besides the credits.
            if sent <= STEP_EVENTS {
                outbox.send_of_step(output)
            } else {
                outbox.send(output)
            }
        });
        outbox.credits().give(STEP_EVENTS.saturating_sub(sent));
        result
    }

    fn step_events(
        &mut self,
        step: &mut Step<'_>,
        (sounds, meters): (&SoundPool, &Meters),
        send: &mut dyn FnMut(Output) -> Result<(), NotTaken>,
    ) -> Result<(), NotTaken> {
        for (entry, frame) in &mut *step.begun {
            while self.next <= entry {
                self.next += 1;
                let Some(text) = self.given.pop_front() else {
                    continue;
                };
                let start = self.base + frame;
                self.end_word(start, meters, send)?;
                self.open = Some((text, start));
            }
        }
        if step.waited {
            self.playback.until = None;
        }
        let Some(frame) = step.frame else { return Ok(()) };
        let now = Instant::now();
        if let Some(asked) = self.asked.take_if(|_| self.base == self.frames) {
            meters.first.record((now - asked).as_secs_f64());
        }
        self.began.get_or_insert(now);
        if self.playback.frame(now) {
            meters.underruns.increment(1);
        }
        self.frames += 1;
        meters
            .audio
            .add_samples(frame.len(), crate::stream::frame::SAMPLE_RATE);
        send(Output::Sound(sounds.sound(frame)))
    }

    // Tells of the word that is being said, which ends at the frame `stop`.
    fn end_word(
        &mut self,
        stop: u64,
        meters: &Meters,
        send: &mut dyn FnMut(Output) -> Result<(), NotTaken>,
    ) -> Result<(), NotTaken> {
        let Some((text, start)) = self.open.take() else {
            return Ok(());
        };
        meters.words.increment(1);
        send(Output::Spoken {
            text,
            start: start as f64 / FRAME_RATE,
            stop: stop as f64 / FRAME_RATE,
        })
    }

    /// All text so far was said to its end.
    ///
    /// # Errors
    /// The outbox takes nothing any more.
    pub(super) fn settle(&mut self, outbox: &OutboxTx, meters: &Meters) -> Result<(), NotTaken> {
        let result = self.end_word(self.frames, meters, &mut |output| outbox.send(output));
        self.restart();
        result
    }

    /// All text so far was forgotten. Returns when the next audio begins, in seconds.
    pub(super) fn cancel(&mut self) -> f64 {
        self.restart();
        self.frames as f64 / FRAME_RATE
    }

    // The row was reset: its entries and frames are counted anew.
    fn restart(&mut self) {
        self.open = None;
        self.given.clear();
        self.next = 0;
        self.base = self.frames;
        self.asked = None;
        self.playback.until = None;
    }

    /// Records what there is to say of the stream once it is over.
    pub(super) fn record(&self, meters: &Meters) {
        let Some(began) = self.began else { return };
        let audio = self.frames as f64 / FRAME_RATE;
        // The first frame was made before it came.
        let took = began.elapsed() + FRAME_DURATION;
        meters.speed.record(audio / took.as_secs_f64());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::pipeline::links;
    use crate::stream::end::EndReason;
    use crate::telemetry::Meters as All;

    /// What the client of a stream is told while its row takes the steps of `begun`, each with a frame or without.
    fn told(
        act: impl FnOnce(&mut Speech, &mut dyn FnMut(&mut Speech, Option<(u32, u64)>, bool)),
    ) -> Vec<String> {
        let (outbox, mut events) = links::outbox(256, 8);
        let (pool, all) = (SoundPool::new(4), All::default());
        let meters = all.speech("test");
        let mut speech = Speech::default();
        act(&mut speech, &mut |speech, begun, sounds| {
            assert!(outbox.credits().try_take(STEP_EVENTS));
            let frame = [0.5; crate::stream::frame::FRAME_SAMPLES];
            let mut step = Step {
                frame: sounds.then_some(&frame[..]),
                begun: &mut begun.into_iter(),
                waited: false,
            };
            speech.step(&mut step, &outbox, (&pool, &meters)).unwrap();
        });
        speech.settle(&outbox, &meters).unwrap();
        outbox.finish(EndReason::Done);
        let name = |event| match event {
            Output::Spoken { text, start, stop } => format!("{text} {start:.2}-{stop:.2}"),
            Output::Sound(_) => "sound".to_owned(),
            other => format!("{other:?}"),
        };
        std::iter::from_fn(|| events.try_recv()).map(name).collect()
    }

    #[test]
    fn a_word_is_told_when_the_next_begins_and_the_last_at_the_end() {
        let events = told(|speech, step| {
            speech.given("one".into());
            speech.given("two".into());
            step(speech, Some((0, 0)), false);
            step(speech, None, false);
            step(speech, Some((1, 2)), true);
            step(speech, None, true);
        });
        assert_eq!(events, ["one 0.00-0.16", "sound", "sound", "two 0.16-0.16"]);
    }

    #[test]
    fn the_clock_goes_on_when_the_row_begins_anew() {
        let events = told(|speech, step| {
            speech.given("one".into());
            step(speech, Some((0, 0)), true);
            speech.given("never".into());
            assert_eq!(speech.cancel(), 0.08);
            speech.given("two".into());
            step(speech, Some((0, 0)), true);
        });
        assert_eq!(events, ["sound", "sound", "two 0.08-0.16"]);
    }

    #[test]
    fn a_player_runs_out_when_a_frame_comes_after_all_before_it_were_played() {
        let (mut playback, start) = (Playback::default(), Instant::now());
        let at = |millis| start + Duration::from_millis(millis);
        assert!(!playback.frame(at(0)));
        assert!(!playback.frame(at(10)));
        // Two frames last 160 ms.
        assert!(!playback.frame(at(160)));
        assert!(playback.frame(at(241)));
        assert!(!playback.frame(at(300)));
    }
}
