//! What a model and the pipeline exchange: what the model takes and gives, the ports of one step, and its times.

use std::time::Duration;

use arrayvec::ArrayVec;

use crate::stream::ids::RowId;

/// What the pipeline must know of a model.
#[derive(Clone, Debug)]
pub struct Spec {
    /// Rows that the model has state for.
    pub rows: usize,
    /// Sample rate of the audio, in Hz.
    pub sample_rate: u32,
    /// Samples per frame and row.
    pub frame_samples: usize,
    pub ports: Ports,
    pub tail: Tail,
    /// Frames by which a row's text lags its audio.
    pub text_delay: u32,
    /// Pause probabilities per step and row; 0 when the checkpoint has no heads for them.
    pub pause_heads: usize,
    /// Bytes of state per row.
    pub bytes_per_row: u64,
}

/// Which columns of [`StepIo`] and [`StepOutput`] a model uses; the others stay empty.
///
/// A kind of model with a port of another sort (text in, audio out) adds a flag here, a column to [`StepIo`] or
/// [`StepOutput`], and nothing to the models that lack it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ports {
    /// The model takes a frame of audio per row.
    pub audio_in: bool,
    /// The model gives a text token per row.
    pub tokens: bool,
    /// The model says the text that each row is given.
    pub text_in: bool,
    /// The model gives a frame of audio per row.
    pub audio_out: bool,
}

impl Ports {
    /// Audio in, tokens out: speech to text.
    pub const TRANSCRIPTION: Self = Self {
        audio_in: true,
        tokens: true,
        text_in: false,
        audio_out: false,
    };
    /// Text in, audio out: text to speech.
    pub const SPEECH: Self = Self {
        audio_in: false,
        tokens: false,
        text_in: true,
        audio_out: true,
    };
}

/// What brings out the rest of a row's output after its last input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    /// So many frames of silence.
    Silence { frames: u32 },
    /// Steps without input until the model says that the row has finished.
    RunDry,
}

/// Whether a row can step now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// It needs more input first.
    Waits,
    /// Its next step gives no audio, and costs far less than one that does.
    Light,
    /// Its next step is a whole one.
    Full,
    /// Everything it was given has come out.
    Finished,
}

/// A word or a pause that a row began to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Place of the row in the step.
    pub at: usize,
    /// Number of the entry among those that the row was given, from 0.
    pub entry: u32,
    /// Frame of the row's audio in which it begins, from 0. The audio comes later than this notice.
    pub frame: u64,
}

/// Input and output of one step. Columns of ports that the model lacks are empty.
pub struct StepIo<'a> {
    /// Rows to advance by one frame: distinct, in any order.
    pub rows: &'a [RowId],
    /// `rows × frame_samples` samples in [-1, 1], row after row.
    pub audio: &'a [f32],
    /// Filled by the step, in the order of `rows`.
    pub out: &'a mut StepOutput,
}

impl StepIo<'_> {
    /// Checks that the model has the rows, and that each has the audio that the model takes.
    ///
    /// # Errors
    /// It is not so.
    pub fn check(&self, spec: &Spec) -> Result<(), ModelError> {
        let samples = if spec.ports.audio_in {
            spec.frame_samples
        } else {
            0
        };
        let known = self.rows.iter().all(|row| row.index() < spec.rows);
        if known && self.rows.len() <= spec.rows && self.audio.len() == self.rows.len() * samples {
            return Ok(());
        }
        Err(ModelError(format!(
            "{} samples for rows {:?} of {}",
            self.audio.len(),
            self.rows,
            spec.rows
        )))
    }
}

/// Results of one step, in the order of its rows. Reused from step to step.
///
/// ```
/// use moshi_server::model::scripted::{Scripted, ScriptedConfig, level};
/// use moshi_server::model::{StepIo, StepOutput, StreamModel as _};
/// use moshi_server::stream::frame::FRAME_SAMPLES;
/// use moshi_server::stream::ids::RowId;
///
/// let mut model = Scripted::new(&ScriptedConfig { rows: 2, ..ScriptedConfig::default() });
/// let audio = vec![level(0); 2 * FRAME_SAMPLES];
/// let mut out = StepOutput::default();
/// model.step(&mut StepIo { rows: &[RowId(1), RowId(0)], audio: &audio, out: &mut out })?;
/// assert_eq!(out.tokens.len(), 2);
/// assert_eq!(out.pauses.len(), 2 * model.spec().pause_heads);
/// # Ok::<(), moshi_server::model::ModelError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StepOutput {
    /// One text token per row.
    pub tokens: Vec<u32>,
    /// `rows × pause_heads` probabilities that there is no speech for the next 0.5, 1, 2, 3 s.
    pub pauses: Vec<f32>,
    /// `rows × frame_samples` samples in [-1, 1] of a model with audio out.
    pub audio: Vec<f32>,
    /// Whether the step gave the row audio; where not, its frame in `audio` means nothing.
    pub sounds: Vec<bool>,
    /// What rows began to say in this step, in the order of the rows.
    pub spoken: Vec<Spoken>,
    /// Time that each part of the model took.
    pub parts: PartTimes,
}

impl StepOutput {
    /// Forgets the results and keeps their storage.
    pub fn clear(&mut self) {
        let Self {
            tokens,
            pauses,
            audio,
            sounds,
            spoken,
            parts,
        } = self;
        tokens.clear();
        pauses.clear();
        audio.clear();
        sounds.clear();
        spoken.clear();
        parts.clear();
    }
}

/// A part of a model. A step runs each part that its model has once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// Mimi's encoder: audio to codes.
    MimiEncoder,
    /// The language model.
    Lm,
    /// The depformer: the codes of a frame, codebook by codebook.
    Depformer,
    /// Mimi's decoder: codes to audio.
    MimiDecoder,
}

impl Part {
    /// Every part, in the order of the enum.
    pub const ALL: [Self; 4] = [Self::MimiEncoder, Self::Lm, Self::Depformer, Self::MimiDecoder];
}

/// Times of a step's parts. Where parts run side by side, as on a GPU, a part's time is what it adds to the step.
#[derive(Clone, Debug, Default)]
pub struct PartTimes(ArrayVec<(Part, Duration), { Part::ALL.len() }>);

impl PartTimes {
    /// Forgets all times.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Sets the time of `part`.
    pub fn set(&mut self, part: Part, took: Duration) {
        self.0.retain(|(known, _)| *known != part);
        // Cannot overflow: there is a place for each part, and no part is in it twice.
        let _ = self.0.try_push((part, took));
    }

    /// Returns the time of `part`, zero where the model has no such part.
    #[must_use]
    pub fn of(&self, part: Part) -> Duration {
        let known = self.0.iter().find(|(known, _)| *known == part);
        known.map_or(Duration::ZERO, |(_, took)| *took)
    }
}

/// A failed step. The engine treats it as fatal.
#[derive(Debug, thiserror::Error)]
#[error("model step failed: {0}")]
pub struct ModelError(pub String);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_has_a_place_among_the_times() {
        let mut times = PartTimes::default();
        for round in 1..3 {
            for (i, part) in Part::ALL.into_iter().enumerate() {
                assert_eq!(part as usize, i);
                times.set(part, Duration::from_secs(round * 10 + i as u64));
            }
        }
        assert_eq!(times.of(Part::Lm), Duration::from_secs(21));
        times.clear();
        assert_eq!(times.of(Part::Lm), Duration::ZERO);
    }
}
