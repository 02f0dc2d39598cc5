//! A model that computes nothing: it "transcribes" the level of each frame. For capacity and failure tests, which look at
//! the server around the model.
//!
//! A loud frame after a silent one starts a word; each loud frame after that is a letter, a later one of the alphabet the
//! louder it is (3 dB per letter). Text comes `delay` frames late and ends with the word, as with a real model.

pub mod speech;

use std::sync::Arc;
use std::time::Duration;

use super::{ModelError, Part, Ports, Spec, StepIo, StreamModel, Tail};
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use crate::stream::ids::RowId;
use crate::stream::text::Detokenize;

/// Pause heads, as Kyutai's 1B model has.
const HEADS: usize = 4;
const WORD_START: u32 = 0;
const PAD: u32 = 3;
/// Token of the letter `a`.
const FIRST_LETTER: u32 = 4;
/// Number of letters: `a` to `p`.
pub const LETTERS: usize = 16;
/// Silent frames after which the probability of a pause is 1.
const PAUSE_FRAMES: f32 = 8.0;

/// Returns the amplitude of constant samples that are transcribed as `letter` (0 is `a`).
#[must_use]
pub fn level(letter: usize) -> f32 {
    2f32.powf(letter as f32 / 2.0 - 8.0)
}

/// Text of the letters.
pub struct Letters;

impl Detokenize for Letters {
    fn decode(&self, ids: &[u32]) -> String {
        let letter = |id: &u32| {
            id.checked_sub(FIRST_LETTER)
                .and_then(|i| char::from_u32('a' as u32 + i))
        };
        ids.iter().filter_map(letter).collect()
    }
}

#[derive(Clone)]
struct Row {
    /// Tokens of the last `delay` frames.
    late: Box<[u32]>,
    next: usize,
    loud: bool,
    silent: u32,
}

impl Row {
    fn new(delay: u32) -> Self {
        Self {
            late: vec![PAD; delay as usize].into(),
            next: 0,
            loud: false,
            silent: 0,
        }
    }

    fn reset(&mut self) {
        let Self {
            late,
            next,
            loud,
            silent,
        } = self;
        late.fill(PAD);
        *next = 0;
        *loud = false;
        *silent = 0;
    }

    // Returns the row's token and pause probability for its next frame.
    fn step(&mut self, frame: &[f32]) -> (u32, f32) {
        let power = frame.iter().map(|x| x * x).sum::<f32>() / frame.len() as f32;
        let letter = (power.log2() + 16.0).round();
        let loud = letter > -1.0;
        let token = match (loud, self.loud) {
            (false, _) => PAD,
            (true, false) => WORD_START,
            (true, true) => FIRST_LETTER + (letter.max(0.0) as u32).min(LETTERS as u32 - 1),
        };
        self.loud = loud;
        self.silent = if loud { 0 } else { self.silent.saturating_add(1) };
        let token = match self.late.get_mut(self.next) {
            Some(slot) => std::mem::replace(slot, token),
            None => token,
        };
        self.next = (self.next + 1) % self.late.len().max(1);
        (token, (self.silent as f32 / PAUSE_FRAMES).min(1.0))
    }
}

/// What the model is told to do.
#[derive(Clone, Debug)]
pub struct ScriptedConfig {
    pub rows: usize,
    /// Frames by which text lags audio.
    pub text_delay: u32,
    /// Time that a step takes, whatever its rows.
    pub step_time: Duration,
    /// What each row in it adds.
    pub row_time: Duration,
    /// The step after this many fails.
    pub fail_after_steps: Option<u64>,
    /// The step after this many never ends.
    pub hang_after_steps: Option<u64>,
    /// The step after this many panics.
    pub panic_after_steps: Option<u64>,
}

impl Default for ScriptedConfig {
    /// One row, with the delay of Kyutai's 1B model, that takes no time and never fails.
    fn default() -> Self {
        Self {
            rows: 1,
            text_delay: 6,
            step_time: Duration::ZERO,
            row_time: Duration::ZERO,
            fail_after_steps: None,
            hang_after_steps: None,
            panic_after_steps: None,
        }
    }
}

impl ScriptedConfig {
    // What the script has in store for the step after `steps`: it may fail, hang or panic.
    fn fate(&self, steps: u64) -> Result<(), ModelError> {
        if self.fail_after_steps.is_some_and(|n| steps >= n) {
            return Err(ModelError(format!("the script says so after {steps} steps")));
        }
        while self.hang_after_steps.is_some_and(|n| steps >= n) {
            std::thread::park();
        }
        assert!(
            self.panic_after_steps.is_none_or(|n| steps < n),
            "the script says so"
        );
        Ok(())
    }

    // Time that a step of `rows` rows takes.
    fn takes(&self, rows: usize) -> Duration {
        self.step_time + self.row_time * rows as u32
    }
}

/// The model.
pub struct Scripted {
    spec: Spec,
    config: ScriptedConfig,
    rows: Vec<Row>,
    steps: u64,
}

impl Scripted {
    /// Makes the model that `config` describes.
    #[must_use]
    pub fn new(config: &ScriptedConfig) -> Self {
        let (rows, delay) = (config.rows, config.text_delay);
        Self {
            spec: Spec {
                rows,
                sample_rate: SAMPLE_RATE,
                frame_samples: FRAME_SAMPLES,
                ports: Ports::TRANSCRIPTION,
                tail: Tail::Silence { frames: delay },
                text_delay: delay,
                pause_heads: HEADS,
                bytes_per_row: u64::from(delay) * 4,
            },
            config: config.clone(),
            rows: vec![Row::new(delay); rows],
            steps: 0,
        }
    }

    /// Returns the model and its text, as the loader of a real one gives them.
    #[must_use]
    pub fn load(config: &ScriptedConfig) -> (Box<dyn StreamModel>, Arc<dyn Detokenize>) {
        (Box::new(Self::new(config)), Arc::new(Letters))
    }
}

impl StreamModel for Scripted {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset_row(&mut self, row: RowId, _seed: u64) {
        self.rows[row.index()].reset();
    }

    fn step(&mut self, io: &mut StepIo<'_>) -> Result<(), ModelError> {
        self.config.fate(self.steps)?;
        io.check(&self.spec)?;
        self.steps += 1;
        let takes = self.config.takes(io.rows.len());
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        io.out.clear();
        for (row, frame) in io.rows.iter().zip(io.audio.chunks_exact(FRAME_SAMPLES)) {
            let (token, pause) = self.rows[row.index()].step(frame);
            io.out.tokens.push(token);
            io.out.pauses.extend([pause; HEADS]);
        }
        io.out.parts.set(Part::Lm, takes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StepOutput;

    fn hear(model: &mut Scripted, row: u16, letters: &[Option<usize>]) -> Vec<u32> {
        let mut out = StepOutput::default();
        let mut tokens = Vec::new();
        for letter in letters {
            let frame = [letter.map_or(0.0, level); FRAME_SAMPLES];
            let io = &mut StepIo {
                rows: &[RowId(row)],
                audio: &frame,
                out: &mut out,
            };
            model.step(io).unwrap();
            tokens.push(out.tokens[0]);
        }
        tokens
    }

    fn scripted(delay: u32) -> Scripted {
        Scripted::new(&ScriptedConfig {
            rows: 2,
            text_delay: delay,
            ..ScriptedConfig::default()
        })
    }

    #[test]
    fn levels_are_letters_and_come_late() {
        let mut model = scripted(2);
        let audio = [None, Some(9), Some(0), Some(15), None, None, None];
        assert_eq!(
            hear(&mut model, 1, &audio),
            [PAD, PAD, PAD, WORD_START, 4, 19, PAD]
        );
        assert_eq!(Letters.decode(&[4, 19, 1]), "ap");
    }

    #[test]
    fn a_recycled_row_is_a_fresh_one() {
        let mut model = scripted(1);
        let audio = [Some(3), Some(4), None];
        let fresh = hear(&mut model, 0, &audio);
        hear(&mut model, 1, &[Some(7), Some(7)]);
        model.reset_row(RowId(1), 0);
        assert_eq!(hear(&mut model, 1, &audio), fresh);
    }
}
