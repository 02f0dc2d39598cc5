//! The word machine: text tokens of one stream become words with start and stop times.
//!
//! Kyutai's models emit, per 80 ms frame, a pad (3), an end-of-padding mark (0) in the frame where a word starts, or a
//! piece of the word. Times are counted in frames of this stream, so they stay exact over hours and after a restart.

use crate::stream::text::Detokenize;

/// What one step completed. Times are seconds of this stream's audio, silence added by the engine included.
#[derive(Clone, Debug, PartialEq)]
pub enum WordEvent {
    Word { text: String, start: f64 },
    End { stop: f64 },
}

/// Marks the frame where a word starts.
const WORD_START: u32 = 0;
/// No text in this frame.
const PAD: u32 = 3;

/// When the end of a word is announced before the next word shows it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EndRule {
    /// A predicted pause ends the word when it is likelier than this. The pause of 2 s (third head) is the one that Unmute,
    /// Kyutai's voice assistant, acts on; checkpoints with fewer heads use their last.
    pub pause: f32,
    /// Number of first frames of a stream whose predictions are not trusted.
    pub settle_frames: u64,
    /// Without a prediction, this many frames without text end the word.
    pub quiet_frames: u32,
}

impl Default for EndRule {
    fn default() -> Self {
        Self {
            pause: 0.6,
            settle_frames: 12,
            quiet_frames: 8,
        }
    }
}

const PAUSE_HEAD: usize = 2;

/// The word machine of one stream.
#[derive(Clone, Debug)]
pub struct WordMachine {
    delay: u64,
    frame_rate: f64,
    rule: Option<EndRule>,
    /// Frames of the stream before the model state was last reset.
    origin: u64,
    /// Frames since then.
    frames: u64,
    pieces: Vec<u32>,
    /// Start of the word whose pieces are being collected.
    start: f64,
    /// A word was announced and its end was not.
    open: bool,
    quiet: u32,
}

impl WordMachine {
    /// A machine for text that lags audio by `delay_frames`, with early ends by the default [`EndRule`].
    pub fn new(delay_frames: u32, frame_rate: f64) -> Self {
        Self {
            delay: u64::from(delay_frames),
            frame_rate,
            rule: Some(EndRule::default()),
            origin: 0,
            frames: 0,
            pieces: Vec::with_capacity(16),
            start: 0.0,
            open: false,
            quiet: 0,
        }
    }

    /// Sets when words end early; `None` waits for the next word, as Kyutai's server does.
    pub fn with_rule(mut self, rule: Option<EndRule>) -> Self {
        self.rule = rule;
        self
    }

    /// Starts over after the row's model state was reset, `origin_frames` into the stream.
    pub fn reset(&mut self, origin_frames: u64) {
        let Self {
            delay: _,
            frame_rate,
            rule: _,
            origin,
            frames,
            pieces,
            start,
            open,
            quiet,
        } = self;
        *origin = origin_frames;
        *frames = 0;
        pieces.clear();
        *start = origin_frames as f64 / *frame_rate;
        *open = false;
        *quiet = 0;
    }

    /// Frames of the stream up to now, those before the last reset included.
    pub fn frames(&self) -> u64 {
        self.origin + self.frames
    }

    /// Takes one step's token and pause probabilities (empty where the model predicts none).
    pub fn step(
        &mut self,
        token: u32,
        pauses: &[f32],
        text: &dyn Detokenize,
        emit: &mut dyn FnMut(WordEvent),
    ) {
        self.frames += 1;
        let Some(audio_frames) = self.frames.checked_sub(self.delay) else {
            return;
        };
        let now = (self.origin + audio_frames) as f64 / self.frame_rate;
        match token {
            WORD_START | PAD => self.close_pieces(text, emit),
            piece => {
                self.pieces.push(piece);
                self.quiet = 0;
            }
        }
        if token == WORD_START {
            self.end(now, emit);
            self.start = now;
        } else if self.ends_early(token, pauses) {
            self.end(now, emit);
        }
    }

    /// The stream is over and all its frames were stepped: announces what is left.
    pub fn finish(&mut self, text: &dyn Detokenize, emit: &mut dyn FnMut(WordEvent)) {
        self.close_pieces(text, emit);
        let now = (self.origin + self.frames.saturating_sub(self.delay)) as f64 / self.frame_rate;
        self.end(now, emit);
    }

    fn close_pieces(&mut self, text: &dyn Detokenize, emit: &mut dyn FnMut(WordEvent)) {
        if self.pieces.is_empty() {
            return;
        }
        emit(WordEvent::Word {
            text: text.decode(&self.pieces),
            start: self.start,
        });
        self.pieces.clear();
        self.open = true;
        self.quiet = 0;
    }

    fn end(&mut self, now: f64, emit: &mut dyn FnMut(WordEvent)) {
        if std::mem::take(&mut self.open) {
            emit(WordEvent::End { stop: now });
        }
    }

    fn ends_early(&mut self, token: u32, pauses: &[f32]) -> bool {
        let Some(rule) = self.rule else { return false };
        if !self.open || token != PAD {
            return false;
        }
        self.quiet += 1;
        let head = PAUSE_HEAD.min(pauses.len().wrapping_sub(1));
        let paused = pauses.get(head).is_some_and(|p| *p > rule.pause) && self.frames > rule.settle_frames;
        paused || self.quiet >= rule.quiet_frames
    }
}

#[cfg(test)]
#[path = "words_tests.rs"]
mod tests;
