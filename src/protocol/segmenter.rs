//! Cuts the words of a stream into utterances, for the dialects whose clients expect interim and final transcripts.
//!
//! A stream of ours says a word once and never takes it back, and says how likely a pause is with every frame. Clients of
//! other services expect *segments*: interim ones that grow, final ones that never change, and where the speaker stopped.
//!
//! Feed every [`Output`] to [`Segmenter::hear`] in order, call [`Segmenter::tick`] at [`Segmenter::deadline`], and send a
//! flush into the stream whenever [`Segmenter::take_flush`] says so. What happened comes back as [`Event`]s:
//!
//! - each word adds one [`Event::Word`] and stands in exactly one later [`Event::Final`], in order;
//! - [`Event::Final`]s cover the audio without overlap;
//! - each flush of the client is answered by exactly one final with [`Cause::Flush`], with or without words.
//!
//! A pause is what the model's heads predict. Because text lags audio, an utterance is not over when the pause is seen: the
//! segmenter asks for a flush, which brings out the words that are still in the model, and the final follows its answer.
//! Checkpoints without heads end an utterance by frames without text, and audio that stops coming by the wall clock.

use std::time::{Duration, Instant};

use crate::stream::frame::{FRAME_DURATION, FRAME_RATE};
use crate::stream::output::{Output, Pauses};

/// A pause is announced where its head says more than this; the threshold of Unmute, Kyutai's voice assistant.
const PAUSE: f32 = 0.6;
/// Speech begins where the first head says less than this.
const SPEECH: f32 = 0.5;
/// Number of first frames of a stream whose heads are not trusted.
const UNSETTLED: u64 = 12;
/// Longest silence that each head stands for, in milliseconds; the last one has no limit.
const HEADS_MS: [u128; 3] = [500, 1000, 2000];
/// Frames without text that end an utterance at the earliest, where there are no heads: as many as end a word.
const QUIET: u64 = 8;
/// Least time without any news of the stream after which its audio is taken to have stopped.
const STOPPED: Duration = Duration::from_millis(500);
/// Length of a word whose end is not known yet, in seconds.
const WORD_S: f64 = 0.4;

/// Where utterances and segments end.
#[derive(Clone, Debug, PartialEq)]
pub struct Rules {
    /// Silence that ends an utterance; without it only the client's flushes do.
    pub endpoint: Option<Duration>,
    /// Silence after which [`Event::UtteranceEnd`] follows; never without it.
    pub utterance_end: Option<Duration>,
    /// A segment with as many words becomes final although the speaker goes on; at least one.
    pub most_words: usize,
    /// A segment as long becomes final at its next word's end, although the speaker goes on.
    pub longest: Duration,
}

/// A word of a segment. Times are seconds of the client's audio.
#[derive(Clone, Debug, PartialEq)]
pub struct Word {
    pub text: String,
    pub start: f64,
    /// An estimate until the word's end is known, which it mostly is in a final segment.
    pub end: f64,
}

/// Why a segment is final.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It is long; the speaker goes on.
    Long,
    /// The speaker paused.
    Endpoint,
    /// The client asked for it.
    Flush,
    /// The stream is over.
    End,
}

/// What happened. Times are seconds of the client's audio.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// Somebody began to speak at `at`. Always before the first word of an utterance.
    SpeechStarted { at: f64 },
    /// The open segment has one more word: the last of [`Segmenter::open`].
    Word,
    /// The open segment is final and will not change; what follows is in the next one.
    Final {
        words: Vec<Word>,
        /// End of the final before it.
        start: f64,
        end: f64,
        cause: Cause,
    },
    /// As much silence as was asked for followed the last word, which ended at `last_word_end`. Once per utterance.
    UtteranceEnd { last_word_end: f64 },
}

/// The segmenter of one stream.
#[derive(Debug)]
pub struct Segmenter {
    rules: Rules,
    /// Words since the last final.
    open: Vec<Word>,
    /// The last word's end was said.
    ended: bool,
    /// End of the last final, in seconds.
    cut: f64,
    /// Audio heard, in seconds.
    heard: f64,
    speaking: bool,
    /// Audio was heard since the last flush: the model may still hold words of it.
    unflushed: bool,
    /// Frames since text last came.
    quiet: u64,
    /// When the stream last said anything.
    news: Option<Instant>,
    flush: Flush,
    /// End of the last word that no `UtteranceEnd` followed yet.
    last_word_end: Option<f64>,
}

/// The flush that the segmenter itself wants at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flush {
    No,
    Wanted,
    /// Handed out; its answer is still to come.
    Asked,
}

impl Segmenter {
    #[must_use]
    pub fn new(rules: Rules) -> Self {
        Self {
            rules,
            open: Vec::new(),
            ended: true,
            cut: 0.0,
            heard: 0.0,
            speaking: false,
            unflushed: false,
            quiet: 0,
            news: None,
            flush: Flush::No,
            last_word_end: None,
        }
    }

    /// Returns the words since the last final.
    #[must_use]
    pub fn open(&self) -> &[Word] {
        &self.open
    }

    /// Returns where the open segment begins: the end of the last final, in seconds.
    #[must_use]
    pub const fn since(&self) -> f64 {
        self.cut
    }

    /// Returns the audio heard so far, in seconds.
    #[must_use]
    pub const fn heard(&self) -> f64 {
        self.heard
    }

    /// Changes where what is said from now on ends.
    pub fn set_rules(&mut self, rules: Rules) {
        self.rules = rules;
    }

    /// Takes the stream's next output, at `now`. What it means is added to `events`.
    pub fn hear(&mut self, output: &Output, now: Instant, events: &mut Vec<Event>) {
        match output {
            Output::Step { frame, pauses, .. } => self.step(*frame, pauses, events),
            Output::Word { text, start } => self.word(text, *start, events),
            Output::WordEnd { stop } => self.word_end(*stop, events),
            Output::Flushed => self.flushed(events),
            Output::End if !self.open.is_empty() => self.finish(Cause::End, events),
            _ => return,
        }
        self.news = Some(now);
    }

    /// Returns when [`Self::tick`] is due, if nothing is heard before.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        let endpoint = self.rules.endpoint?;
        let waits = self.flush == Flush::No && (self.unflushed || !self.open.is_empty());
        self.news.filter(|_| waits)?.checked_add(endpoint.max(STOPPED))
    }

    /// Notes that it is `now`: where audio stopped coming, what was said so far ends, words still in the model included.
    pub fn tick(&mut self, now: Instant) {
        if self.deadline().is_some_and(|deadline| deadline <= now) {
            self.flush = Flush::Wanted;
        }
    }

    /// Returns whether a flush is to be sent into the stream now. Says so once: the caller has to send it, and does not ask where
    /// it would not be answered.
    #[must_use]
    pub fn take_flush(&mut self) -> bool {
        let wanted = self.flush == Flush::Wanted;
        if wanted {
            self.flush = Flush::Asked;
        }
        wanted
    }

    fn step(&mut self, frame: u64, pauses: &Pauses, events: &mut Vec<Event>) {
        self.heard = (frame + 1) as f64 / FRAME_RATE;
        self.quiet += 1;
        self.unflushed = true;
        let settled = frame >= UNSETTLED;
        if settled && !self.speaking && pauses.first().is_some_and(|pause| *pause < SPEECH) {
            self.started(frame as f64 / FRAME_RATE, events);
        } else if self.flush == Flush::No && self.speaking && self.paused(settled, pauses) {
            self.flush = Flush::Wanted;
        }
        self.utterance_end(events);
    }

    /// Whether the speaker made a pause as long as asked for.
    fn paused(&self, settled: bool, pauses: &Pauses) -> bool {
        let Some(endpoint) = self.rules.endpoint else {
            return false;
        };
        let asked = HEADS_MS.iter().take_while(|most| **most < endpoint.as_millis());
        match pauses.len().checked_sub(1) {
            Some(last) => settled && pauses[asked.count().min(last)] > PAUSE,
            None => self.quiet >= frames(endpoint).max(QUIET),
        }
    }

    // Text lags audio, so the silence is counted in frames without text: audio that was heard may still hold a word.
    fn utterance_end(&mut self, events: &mut Vec<Event>) {
        let Some(asked) = self.rules.utterance_end else {
            return;
        };
        if self.quiet < frames(asked) || self.flush != Flush::No {
            return;
        }
        if let Some(last_word_end) = self.last_word_end.take() {
            events.push(Event::UtteranceEnd { last_word_end });
        }
    }

    fn started(&mut self, at: f64, events: &mut Vec<Event>) {
        self.speaking = true;
        self.quiet = 0;
        events.push(Event::SpeechStarted { at });
    }

    fn word(&mut self, text: &str, start: f64, events: &mut Vec<Event>) {
        if !self.speaking {
            self.started(start, events);
        }
        // A word's end is mostly said before the next word.
        if let Some(last) = self.open.last_mut().filter(|_| !self.ended) {
            last.end = last.end.min(start);
        }
        let end = start + WORD_S;
        let end = if self.heard > start {
            end.min(self.heard)
        } else {
            end
        };
        self.open.push(Word {
            text: text.to_owned(),
            start,
            end,
        });
        self.ended = false;
        self.quiet = 0;
        self.last_word_end = Some(end);
        events.push(Event::Word);
    }

    fn word_end(&mut self, stop: f64, events: &mut Vec<Event>) {
        // An end that comes late was announced by the silence itself; one that comes early, by the next word.
        if self.quiet + 1 < QUIET {
            self.quiet = 0;
        }
        if std::mem::replace(&mut self.ended, true) {
            return;
        }
        let Some(last) = self.open.last_mut() else { return };
        last.end = stop.max(last.start);
        if self.last_word_end.is_some() {
            self.last_word_end = Some(last.end);
        }
        let long = last.end - self.open[0].start >= self.rules.longest.as_secs_f64();
        if long || self.open.len() >= self.rules.most_words {
            self.finish(Cause::Long, events);
        }
    }

    // Answers come in the order of their flushes, and which was first when both the client and the segmenter wait for one is
    // not known. Taking the first answer as the segmenter's own is right either way: a client's answer then comes when
    // all the audio before its flush is transcribed, or later.
    fn flushed(&mut self, events: &mut Vec<Event>) {
        self.unflushed = false;
        if self.flush == Flush::Asked {
            self.flush = Flush::No;
            // Audio that stopped may have held nothing.
            if std::mem::take(&mut self.speaking) || !self.open.is_empty() {
                self.finish(Cause::Endpoint, events);
            }
            self.utterance_end(events);
        } else {
            self.finish(Cause::Flush, events);
        }
    }

    fn finish(&mut self, cause: Cause, events: &mut Vec<Event>) {
        let words = std::mem::take(&mut self.open);
        let last = words.last().map_or(self.cut, |word| word.end);
        let end = match cause {
            Cause::Long => last,
            Cause::Endpoint | Cause::Flush | Cause::End => last.max(self.heard),
        };
        let start = self.cut;
        self.cut = end.max(start);
        events.push(Event::Final {
            words,
            start,
            end: self.cut,
            cause,
        });
    }
}

/// Returns the number of frames that `time` takes, rounded up.
fn frames(time: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(FRAME_DURATION.as_nanos())).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
