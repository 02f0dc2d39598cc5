//! A model that computes nothing: it hears the level of each frame and "transcribes" it. For capacity and failure tests,
//! where the server around the model is what is looked at.
//!
//! A loud frame after a silent one starts a word; each loud frame after that is a letter, a higher one the louder it is
//! (3 dB a letter). Text comes `delay` frames late and ends with the word, as with a real model.

use std::sync::Arc;
use std::time::Duration;

use super::{ModelError, ModelSpec, StepOutput, StreamModel};
use crate::config::ScriptedModule;
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use crate::stream::ids::RowId;
use crate::stream::text::Detokenize;

/// Pause heads, as Kyutai's 1B model has.
const HEADS: usize = 4;
const WORD_START: u32 = 0;
const PAD: u32 = 3;
/// Token of the letter `a`.
const FIRST_LETTER: u32 = 4;
/// Letters there are: `a` to `p`.
pub const LETTERS: usize = 16;
/// Silent frames after which a pause is certain.
const PAUSE_FRAMES: f32 = 8.0;

/// Amplitude of constant samples that are heard as `letter` (0 is `a`).
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

    fn hear(&mut self, frame: &[f32]) -> (u32, f32) {
        let power = frame.iter().map(|x| x * x).sum::<f32>() / frame.len() as f32;
        let letter = (power.log2() + 16.0).round();
        let loud = letter > -1.0;
        let heard = match (loud, self.loud) {
            (false, _) => PAD,
            (true, false) => WORD_START,
            (true, true) => FIRST_LETTER + (letter.max(0.0) as u32).min(LETTERS as u32 - 1),
        };
        self.loud = loud;
        self.silent = if loud { 0 } else { self.silent.saturating_add(1) };
        let token = match self.late.get_mut(self.next) {
            Some(slot) => std::mem::replace(slot, heard),
            None => heard,
        };
        self.next = (self.next + 1) % self.late.len().max(1);
        (token, (self.silent as f32 / PAUSE_FRAMES).min(1.0))
    }
}

/// The model.
pub struct Scripted {
    spec: ModelSpec,
    rows: Vec<Row>,
    steps: u64,
    step_time: Duration,
    row_time: Duration,
    fail_after: Option<u64>,
    hang_after: Option<u64>,
    panic_after: Option<u64>,
}

impl Scripted {
    #[must_use]
    pub fn new(module: &ScriptedModule) -> Self {
        let (rows, delay) = (module.batch_size, module.asr_delay_in_tokens);
        Self {
            spec: ModelSpec {
                rows,
                sample_rate: SAMPLE_RATE,
                frame_samples: FRAME_SAMPLES,
                delay_frames: delay,
                vad_heads: HEADS,
                bytes_per_row: u64::from(delay) * 4,
            },
            rows: vec![Row::new(delay); rows],
            steps: 0,
            step_time: Duration::from_secs_f64(module.step_s),
            row_time: Duration::from_secs_f64(module.row_s),
            fail_after: module.fail_after_steps,
            hang_after: module.hang_after_steps,
            panic_after: module.panic_after_steps,
        }
    }

    /// The model and its text, as the loader of a real one gives them.
    #[must_use]
    pub fn load(module: &ScriptedModule) -> (Box<dyn StreamModel>, Arc<dyn Detokenize>) {
        (Box::new(Self::new(module)), Arc::new(Letters))
    }
}

impl StreamModel for Scripted {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn reset_row(&mut self, row: RowId, _seed: u64) {
        self.rows[row.index()].reset();
    }

    fn step(&mut self, rows: &[RowId], pcm: &[f32], out: &mut StepOutput) -> Result<(), ModelError> {
        if self.fail_after.is_some_and(|n| self.steps >= n) {
            return Err(ModelError(format!(
                "the script says so after {} steps",
                self.steps
            )));
        }
        while self.hang_after.is_some_and(|n| self.steps >= n) {
            std::thread::park();
        }
        assert!(
            self.panic_after.is_none_or(|n| self.steps < n),
            "the script says so"
        );
        self.steps += 1;
        let takes = self.step_time + self.row_time * rows.len() as u32;
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        out.tokens.clear();
        out.pauses.clear();
        for (row, frame) in rows.iter().zip(pcm.chunks_exact(FRAME_SAMPLES)) {
            let (token, pause) = self.rows[row.index()].hear(frame);
            out.tokens.push(token);
            out.pauses.extend([pause; HEADS]);
        }
        out.codec = Duration::ZERO;
        out.lm = takes;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hear(model: &mut Scripted, row: u16, letters: &[Option<usize>]) -> Vec<u32> {
        let mut out = StepOutput::default();
        let mut tokens = Vec::new();
        for letter in letters {
            let frame = [letter.map_or(0.0, level); FRAME_SAMPLES];
            model.step(&[RowId(row)], &frame, &mut out).unwrap();
            tokens.push(out.tokens[0]);
        }
        tokens
    }

    fn scripted(delay: u32) -> Scripted {
        Scripted::new(&ScriptedModule {
            path: "/".to_owned(),
            batch_size: 2,
            asr_delay_in_tokens: delay,
            step_s: 0.0,
            row_s: 0.0,
            fail_after_steps: None,
            hang_after_steps: None,
            panic_after_steps: None,
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
