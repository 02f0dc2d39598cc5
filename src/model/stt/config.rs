//! A speech-to-text model as its configuration describes it.

use std::path::PathBuf;

use crate::model::error::LoadError;
use crate::model::layout::dtype::{KvFormat, WeightFormat};
use crate::model::layout::lm::LmConfig;
use crate::model::layout::mimi::MimiConfig;
use crate::model::step::{Ports, Spec, Tail};
use crate::model::weights::Weights;

/// A speech-to-text model: its files, its sizes, and how it is run.
#[derive(Clone, Debug)]
pub struct SttConfig {
    /// The language model, safetensors.
    pub lm_file: PathBuf,
    /// The Mimi codec, safetensors.
    pub codec_file: PathBuf,
    /// The text tokenizer, a SentencePiece model.
    pub tokenizer_file: PathBuf,
    /// Frames by which text lags audio, where the checkpoint is not conditioned on a delay.
    pub text_delay: u32,
    pub conditioning: Conditioning,
    /// 0 is greedy; above it tokens are sampled (Gumbel-max).
    pub temperature: f64,
    /// Format of the language model's weights; without it that of the file.
    pub weights: Option<WeightFormat>,
    /// Format of the language model's keys and values; without it the engine's choice.
    pub kv_cache: Option<KvFormat>,
    pub lm: LmConfig,
}

/// What a checkpoint that was trained with a condition is told of the delay.
#[derive(Clone, Copy, Debug, Default)]
pub struct Conditioning {
    /// The delay in seconds, which then also is the model's.
    pub delay_s: Option<f32>,
    /// Without a delay: add what the checkpoint learnt for an unknown one.
    pub learnt_padding: bool,
}

impl SttConfig {
    /// Returns the frames by which text lags audio: the configured ones, or what a conditioned delay comes to.
    #[must_use]
    pub fn text_delay_frames(&self, frame_rate: f64) -> u32 {
        let conditioned = |seconds| (f64::from(seconds) * frame_rate).floor() as u32 + 1;
        self.conditioning.delay_s.map_or(self.text_delay, conditioned)
    }

    /// Checks the codebooks of the language model against those of the codec.
    ///
    /// # Errors
    /// The language model asks for codebooks or entries that the codec does not have.
    pub(crate) fn check_codebooks(&self, mimi: &MimiConfig) -> Result<(), LoadError> {
        let (books, q) = (self.lm.audio_codebooks, &mimi.quantizer);
        // The last entry of the language model's table stands before a stream's first code.
        if (1..=q.n_q).contains(&books) && q.bins < self.lm.audio_vocab_size {
            return Ok(());
        }
        Err(LoadError::Config(format!(
            "audio_codebooks is {books} of {} entries, but the codec has {} of {}",
            self.lm.audio_vocab_size, q.n_q, q.bins
        )))
    }

    /// Returns what the pipeline must know of the model with `rows` rows.
    pub(crate) fn spec(&self, mimi: &MimiConfig, rows: usize, bytes_per_row: u64) -> Spec {
        let delay = self.text_delay_frames(mimi.frame_rate);
        Spec {
            rows,
            sample_rate: mimi.sample_rate,
            frame_samples: mimi.frame_samples(),
            ports: Ports::TRANSCRIPTION,
            tail: Tail::Silence { frames: delay },
            text_delay: delay,
            pause_heads: self.lm.pause_heads(),
            bytes_per_row,
        }
    }
}

/// A configuration with its open files.
pub(crate) struct Checkpoint<'a> {
    pub(crate) config: &'a SttConfig,
    pub(crate) mimi: &'a MimiConfig,
    pub(crate) codec: &'a Weights,
    pub(crate) lm: &'a Weights,
}
