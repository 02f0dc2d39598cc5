//! A speaking model that computes nothing: it says each letter as a frame of a tone, a louder one the later the letter
//! stands in the alphabet. For capacity and failure tests, which look at the server around the model.
//!
//! It steps as a real one does. The audio of a stream begins [`LEAD`] steps late, and the steps before it are light. A row
//! needs [`AHEAD`] words, a pause at the front, or the end of its text before it goes on.

use std::collections::VecDeque;
use std::f32::consts::TAU;
use std::sync::Arc;

use super::{FIRST_LETTER, LETTERS, Letters, ScriptedConfig, level};
use crate::model::{ModelError, Part, Ports, Readiness, Spec, Spoken, StepIo, StreamModel, Tail};
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use crate::stream::ids::RowId;
use crate::stream::text::{TextEntry, Tokenize};
use crate::stream::voice::{Sampling, Voice};

/// Steps by which a row's audio lags its text: so many light steps come first.
pub const LEAD: u64 = 4;
/// Words that must wait in a row that may be given more.
pub const AHEAD: usize = 3;
/// Numbers of each vector of a voice.
pub const VOICE_WIDTH: usize = 4;
/// Pitch of a row that was given no voice, in Hz.
pub const PITCH: f32 = 400.0;
/// What a row can have in its queue without allocating.
const QUEUE: usize = 256;

impl Tokenize for Letters {
    /// One token per Latin letter, after `p` from `a` again. Other characters have none.
    fn encode(&self, word: &str) -> Vec<u32> {
        let letters = word.bytes().filter(u8::is_ascii_alphabetic);
        letters
            .map(|b| FIRST_LETTER + u32::from(b.to_ascii_lowercase() - b'a') % LETTERS as u32)
            .collect()
    }
}

struct Row {
    entries: VecDeque<TextEntry>,
    /// Entries begun so far.
    begun: u32,
    ended: bool,
    steps: u64,
    /// Loudness of the frames that the begun entries still take, in their order.
    rest: VecDeque<f32>,
    /// Loudness of the frames that were decided and not sounded: the last [`LEAD`] ones.
    late: VecDeque<f32>,
    /// Steps since the text ran out.
    dry: u64,
    pitch: f32,
    /// Phase of the tone, in turns.
    phase: f32,
    /// Silent frames after each word.
    gap: usize,
}

impl Row {
    fn new() -> Self {
        Self {
            entries: VecDeque::with_capacity(QUEUE),
            begun: 0,
            ended: false,
            steps: 0,
            rest: VecDeque::with_capacity(QUEUE),
            late: VecDeque::with_capacity(LEAD as usize + 1),
            dry: 0,
            pitch: PITCH,
            phase: 0.0,
            gap: 1,
        }
    }

    fn readiness(&self) -> Readiness {
        if self.ended && (self.steps == 0 || self.dry >= LEAD) && self.is_dry() {
            return Readiness::Finished;
        }
        let pause = matches!(self.entries.front(), Some(TextEntry::Pause { .. }));
        let words = self
            .entries
            .iter()
            .filter(|entry| matches!(entry, TextEntry::Word(_)));
        if !(self.ended || pause || words.count() >= AHEAD) {
            Readiness::Waits
        } else if self.steps < LEAD {
            Readiness::Light
        } else {
            Readiness::Full
        }
    }

    fn is_dry(&self) -> bool {
        self.entries.is_empty() && self.rest.is_empty()
    }

    // Decides the next frame, and returns the number of the entry that begins with it.
    fn decide(&mut self) -> Option<u32> {
        let begins = if self.rest.is_empty() {
            self.entries.pop_front().map(|entry| {
                match entry {
                    TextEntry::Word(tokens) => {
                        let letter = |token: &u32| token.saturating_sub(FIRST_LETTER) as usize;
                        self.rest.extend(tokens.iter().map(|token| level(letter(token))));
                        self.rest.extend(std::iter::repeat_n(0.0, self.gap));
                    }
                    TextEntry::Pause { steps } => {
                        self.rest.extend(std::iter::repeat_n(0.0, steps as usize));
                    }
                }
                self.begun += 1;
                self.begun - 1
            })
        } else {
            None
        };
        match self.rest.pop_front() {
            Some(loudness) => self.late.push_back(loudness),
            None => {
                self.dry += 1;
                self.late.push_back(0.0);
            }
        }
        self.steps += 1;
        begins
    }

    // Writes the next frame. False where there is none yet.
    fn sound(&mut self, frame: &mut [f32]) -> bool {
        if self.late.len() <= LEAD as usize {
            return false;
        }
        let loudness = self.late.pop_front().unwrap_or(0.0);
        // The level is a frame's root mean square.
        let amplitude = (loudness * std::f32::consts::SQRT_2).min(1.0);
        for sample in frame {
            *sample = amplitude * (TAU * self.phase).sin();
            self.phase = (self.phase + self.pitch / SAMPLE_RATE as f32).fract();
        }
        true
    }
}

/// The model.
pub struct ScriptedSpeech {
    spec: Spec,
    config: ScriptedConfig,
    rows: Vec<Row>,
    steps: u64,
}

impl ScriptedSpeech {
    /// Makes the model that `config` describes; its delay of text means nothing here.
    #[must_use]
    pub fn new(config: &ScriptedConfig) -> Self {
        Self {
            spec: Spec {
                rows: config.rows,
                sample_rate: SAMPLE_RATE,
                frame_samples: FRAME_SAMPLES,
                ports: Ports::SPEECH,
                tail: Tail::RunDry,
                text_delay: 0,
                pause_heads: 0,
                bytes_per_row: 0,
            },
            config: config.clone(),
            rows: (0..config.rows).map(|_| Row::new()).collect(),
            steps: 0,
        }
    }

    /// Returns the model and its text, as the loader of a real one gives them.
    #[must_use]
    pub fn load(config: &ScriptedConfig) -> (Box<dyn StreamModel>, Arc<dyn Tokenize>) {
        (Box::new(Self::new(config)), Arc::new(Letters))
    }
}

impl StreamModel for ScriptedSpeech {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset_row(&mut self, row: RowId, _seed: u64) {
        let Row {
            entries,
            begun,
            ended,
            steps,
            rest,
            late,
            dry,
            pitch,
            phase,
            gap,
        } = &mut self.rows[row.index()];
        entries.clear();
        rest.clear();
        late.clear();
        (*begun, *ended, *steps, *dry) = (0, false, 0, 0);
        (*pitch, *phase, *gap) = (PITCH, 0.0, 1);
    }

    /// The strength of guidance is the number of silent frames after each word.
    fn set_sampling(&mut self, row: RowId, sampling: &Sampling) {
        self.rows[row.index()].gap = sampling.cfg.map_or(1, |cfg| cfg as usize);
    }

    /// The first number of a voice is its pitch.
    fn set_voice(&mut self, row: RowId, voice: &Arc<Voice>) -> Result<(), ModelError> {
        let numbers = voice.steps * voice.width;
        let pitch = voice.embedding.first().copied().unwrap_or_default();
        if voice.width != VOICE_WIDTH || voice.embedding.len() != numbers || !(50.0..=2000.0).contains(&pitch)
        {
            return Err(ModelError(format!(
                "a voice is vectors of {VOICE_WIDTH} numbers that begin with a pitch from 50 to 2000, not {} of {}",
                voice.steps, voice.width
            )));
        }
        self.rows[row.index()].pitch = pitch;
        Ok(())
    }

    fn push_text(&mut self, row: RowId, entry: TextEntry) {
        self.rows[row.index()].entries.push_back(entry);
    }

    fn end_text(&mut self, row: RowId) {
        self.rows[row.index()].ended = true;
    }

    fn readiness(&self, row: RowId) -> Readiness {
        self.rows[row.index()].readiness()
    }

    fn step(&mut self, io: &mut StepIo<'_>) -> Result<(), ModelError> {
        self.config.fate(self.steps)?;
        io.check(&self.spec)?;
        self.steps += 1;
        let full = io
            .rows
            .iter()
            .any(|row| self.rows[row.index()].readiness() == Readiness::Full);
        let takes = self.config.takes(io.rows.len()) / if full { 1 } else { 4 };
        if !takes.is_zero() {
            std::thread::sleep(takes);
        }
        io.out.clear();
        io.out.audio.resize(io.rows.len() * FRAME_SAMPLES, 0.0);
        let frames = io.out.audio.chunks_exact_mut(FRAME_SAMPLES);
        for (at, (row, frame)) in io.rows.iter().zip(frames).enumerate() {
            let row = &mut self.rows[row.index()];
            let began = row.steps;
            if let Some(entry) = row.decide() {
                let frame = began;
                io.out.spoken.push(Spoken { at, entry, frame });
            }
            io.out.sounds.push(row.sound(frame));
        }
        io.out.parts.set(Part::Lm, takes);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::StepOutput;

    fn model() -> ScriptedSpeech {
        ScriptedSpeech::new(&ScriptedConfig {
            rows: 2,
            ..ScriptedConfig::default()
        })
    }

    fn word(text: &str) -> TextEntry {
        TextEntry::Word(Letters.encode(text).into())
    }

    /// Steps row 0 until it waits or has finished: loudness of its audio in 3 dB, and the frames in which entries begin.
    fn speak(model: &mut ScriptedSpeech) -> (Vec<Option<i32>>, Vec<u64>) {
        let (mut out, mut letters, mut begun) = (StepOutput::default(), Vec::new(), Vec::new());
        while !matches!(model.readiness(RowId(0)), Readiness::Waits | Readiness::Finished) {
            let io = &mut StepIo {
                rows: &[RowId(0)],
                audio: &[],
                out: &mut out,
            };
            model.step(io).unwrap();
            begun.extend(out.spoken.iter().map(|spoken| spoken.frame));
            if out.sounds[0] {
                let power = out.audio.iter().map(|x| x * x).sum::<f32>() / FRAME_SAMPLES as f32;
                letters.push((power > 1e-9).then(|| (power.log2() + 16.0).round() as i32));
            }
        }
        (letters, begun)
    }

    #[test]
    fn each_letter_sounds_a_frame_in_its_order() {
        let mut model = model();
        model.push_text(RowId(0), word("ka"));
        model.push_text(RowId(0), TextEntry::Pause { steps: 2 });
        model.push_text(RowId(0), word("p"));
        model.end_text(RowId(0));
        let (letters, begun) = speak(&mut model);
        let expected = [Some(10), Some(0), None, None, None, Some(15), None];
        assert_eq!(letters, expected);
        assert_eq!(begun, [0, 3, 5]);
    }

    #[test]
    fn a_row_waits_for_three_words_unless_its_text_has_ended() {
        let mut model = model();
        let row = RowId(0);
        model.push_text(row, word("a"));
        model.push_text(row, word("b"));
        assert_eq!(model.readiness(row), Readiness::Waits);
        model.push_text(row, word("c"));
        assert_eq!(model.readiness(row), Readiness::Light);
        speak(&mut model);
        assert_eq!(model.readiness(row), Readiness::Waits);
        model.end_text(row);
        speak(&mut model);
        assert_eq!(model.readiness(row), Readiness::Finished);
    }

    #[test]
    fn a_recycled_row_is_a_fresh_one_and_one_without_text_has_finished() {
        let mut model = model();
        model.push_text(RowId(0), word("abc"));
        model.end_text(RowId(0));
        speak(&mut model);
        model.reset_row(RowId(0), 0);
        assert_eq!(model.readiness(RowId(0)), Readiness::Waits);
        model.end_text(RowId(0));
        assert_eq!(model.readiness(RowId(0)), Readiness::Finished);
    }

    #[test]
    fn a_voice_of_another_shape_is_refused() {
        let voice = Voice {
            name: None,
            embedding: vec![0.0; 10].into(),
            steps: 2,
            width: 5,
        };
        let error = model().set_voice(RowId(0), &Arc::new(voice)).unwrap_err();
        assert!(error.0.contains("vectors of 4 numbers"), "{error}");
    }
}
