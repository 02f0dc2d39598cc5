//! The text machine of a speaking row: when the model starts a word, and which text tokens it is fed meanwhile.
//!
//! The model is not given text that is aligned with audio. At each step it says whether the next word starts or the text
//! is padded; the machine then takes the next word from the row's queue and feeds its tokens over the steps that follow.
//! These are the rules of Kyutai's delayed-streams text to speech (arXiv:2509.08753), as its published models run.

use std::collections::VecDeque;

use crate::model::step::Readiness;
use crate::stream::text::TextEntry;

/// Text token that says a word starts.
pub(crate) const NEW_WORD: u32 = 0;
/// Text token of padding.
pub(crate) const PAD: u32 = 3;

/// Numbers that the machine follows; times are in steps.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MachineRules {
    /// Words by which the second text stream runs ahead; 0 where the checkpoint has no second stream.
    pub(crate) ahead: usize,
    /// Most steps without the start of a word, before one is forced.
    pub(crate) max_padding: u32,
    /// Padding before the first word.
    pub(crate) initial_padding: u32,
    /// Audio after the step that found nothing more to say.
    pub(crate) final_padding: u32,
    /// Least padding between two words; 0 leaves it to the model.
    pub(crate) padding_between: u32,
    /// Token before the first word of a stream: the main speaker's turn.
    pub(crate) bos: Option<u32>,
    /// Steps by which audio lags text.
    pub(crate) audio_delay: u64,
    /// Steps more until all codebooks of a frame of audio are there.
    pub(crate) acoustic_delay: u64,
}

/// Text that the model is fed in one step. The second stream tells of later words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextInput {
    pub(crate) main: u32,
    pub(crate) second: Option<u32>,
}

/// What the machine makes of one step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) text: TextInput,
    /// Number of the entry that begins in this step.
    pub(crate) begun: Option<u32>,
}

/// State of one row.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    rules: MachineRules,
    entries: VecDeque<TextEntry>,
    /// Entries given so far, and those begun.
    given: u32,
    begun: u32,
    /// No entry follows.
    ended: bool,
    /// Words among `entries`.
    words: usize,
    /// Whether a word was given before.
    spoke: bool,
    /// Tokens of the current word that are still to be fed.
    queued: VecDeque<u32>,
    /// Tokens for the second stream.
    ahead: VecDeque<u32>,
    /// Padding steps that are left before a word is forced.
    remaining: u32,
    /// Padding steps that are forced.
    forced: u32,
    steps: u64,
    /// Step that found nothing more to say.
    end_step: Option<u64>,
}

impl Machine {
    /// Makes the state of a fresh stream.
    pub(crate) fn new(rules: MachineRules) -> Self {
        Self {
            rules,
            entries: VecDeque::new(),
            given: 0,
            begun: 0,
            ended: false,
            words: 0,
            spoke: false,
            queued: VecDeque::new(),
            ahead: VecDeque::new(),
            remaining: rules.initial_padding,
            forced: rules.initial_padding,
            steps: 0,
            end_step: None,
        }
    }

    /// Returns to the state of a fresh stream; storage is kept.
    pub(crate) fn reset(&mut self) {
        let Self {
            rules,
            entries,
            given,
            begun,
            ended,
            words,
            spoke,
            queued,
            ahead,
            remaining,
            forced,
            steps,
            end_step,
        } = self;
        entries.clear();
        queued.clear();
        ahead.clear();
        (*given, *begun, *words, *steps) = (0, 0, 0, 0);
        (*ended, *spoke, *end_step) = (false, false, None);
        (*remaining, *forced) = (rules.initial_padding, rules.initial_padding);
    }

    /// Returns the steps made so far.
    pub(crate) fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes the next thing to say. Room for all of its tokens is made now, so that no step allocates.
    pub(crate) fn push(&mut self, entry: TextEntry) {
        let entry = match (entry, self.rules.bos) {
            (TextEntry::Word(tokens), Some(bos)) if !self.spoke => {
                TextEntry::Word(std::iter::once(bos).chain(tokens.iter().copied()).collect())
            }
            (entry, _) => entry,
        };
        if let TextEntry::Word(tokens) = &entry {
            self.spoke = true;
            self.words += 1;
            self.queued.reserve(tokens.len());
            let waiting = self.entries.iter().map(|entry| match entry {
                TextEntry::Word(tokens) => tokens.len(),
                TextEntry::Pause { .. } => 0,
            });
            self.ahead.reserve(waiting.sum::<usize>() + tokens.len());
        }
        self.given += 1;
        self.entries.push_back(entry);
    }

    /// Takes note that nothing more is given.
    pub(crate) fn end(&mut self) {
        self.ended = true;
    }

    /// Returns whether the row can make its next step, and which kind of step that is.
    ///
    /// A step that can take a word needs as many words behind it as the second stream looks ahead, or the end of the text.
    /// Steps that are padding whatever the model says need nothing.
    pub(crate) fn readiness(&self) -> Readiness {
        let said = |end: u64| self.steps >= end + self.tail();
        if self.ended && (self.given == 0 || self.end_step.is_some_and(said)) {
            return Readiness::Finished;
        }
        let pause = matches!(self.entries.front(), Some(TextEntry::Pause { .. }));
        let pads = self.given > 0 && self.must_pad();
        if !(self.ended || pause || pads || self.words > self.rules.ahead) {
            return Readiness::Waits;
        }
        match self.steps < self.rules.audio_delay {
            true => Readiness::Light,
            false => Readiness::Full,
        }
    }

    /// Makes one step in which the model asked for a new word, or for padding.
    pub(crate) fn step(&mut self, asks_for_word: bool) -> Decision {
        let step = self.steps;
        self.steps += 1;
        let mut word = !self.must_pad() && (asks_for_word || self.remaining == 0);
        let mut begun = None;
        if word {
            match self.entries.pop_front() {
                Some(entry) => {
                    begun = Some(self.begun);
                    self.begun += 1;
                    word = self.begin(&entry);
                }
                None => {
                    // The model is told once that a word starts where there is none left.
                    word = self.rules.ahead > 0 && self.end_step.is_none();
                    self.end_step.get_or_insert(step);
                }
            }
        }
        let text = self.feed(word);
        Decision { text, begun }
    }

    // Steps from the end of the text to the last frame of audio.
    fn tail(&self) -> u64 {
        let rules = &self.rules;
        rules.audio_delay + rules.acoustic_delay + u64::from(rules.final_padding)
    }

    fn must_pad(&self) -> bool {
        !self.queued.is_empty() || self.forced > 0
    }

    // Begins an entry; false where the step is padding after all.
    fn begin(&mut self, entry: &TextEntry) -> bool {
        match entry {
            TextEntry::Word(tokens) => {
                self.words -= 1;
                self.queued.extend(tokens.iter().copied());
                let words = self.entries.iter().filter_map(|entry| match entry {
                    TextEntry::Word(tokens) => Some(tokens),
                    TextEntry::Pause { .. } => None,
                });
                if let Some(later) = self.rules.ahead.checked_sub(1)
                    && let Some(tokens) = { words }.nth(later)
                {
                    self.ahead.extend(tokens.iter().copied());
                }
                self.remaining = self.rules.max_padding;
                let between = self.rules.padding_between;
                self.forced = match between {
                    0 => 0,
                    _ => (between + tokens.len() as u32).saturating_sub(1),
                };
                true
            }
            TextEntry::Pause { steps } => {
                self.forced = *steps;
                false
            }
        }
    }

    fn feed(&mut self, word: bool) -> TextInput {
        if !word {
            self.remaining = self.remaining.saturating_sub(1);
            self.forced = self.forced.saturating_sub(1);
        }
        if self.rules.ahead == 0 {
            let main = match word {
                true => NEW_WORD,
                false => self.queued.pop_front().unwrap_or(PAD),
            };
            return TextInput { main, second: None };
        }
        // With a second stream, the start of a word goes there, and the word's first token is fed at once.
        TextInput {
            main: self.queued.pop_front().unwrap_or(PAD),
            second: match word {
                true => Some(NEW_WORD),
                false => self.ahead.pop_front(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
