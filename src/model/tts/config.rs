//! A text-to-speech model as its configuration describes it.

use std::path::PathBuf;

use super::checkpoint::SpeechCheckpoint;
use super::codes::Delays;
use super::machine::MachineRules;
use crate::model::error::LoadError;
use crate::model::layout::dtype::{KvFormat, WeightFormat};
use crate::model::layout::mimi::MimiConfig;
use crate::model::layout::speech::SpeechLm;
use crate::model::step::{Ports, Spec, Tail};
use crate::model::weights::Weights;
use crate::stream::voice::Sampling;

/// Vectors of a voice of Kyutai's checkpoints: 10 s at 12.5 per second.
const VOICE_STEPS: usize = 125;
/// Audio codes per second.
const FRAME_RATE: f64 = 12.5;

/// A text-to-speech model: its files, its sizes, and how it is run.
#[derive(Clone, Debug)]
pub struct TtsConfig {
    /// The language model with its depformer, safetensors.
    pub lm_file: PathBuf,
    /// The Mimi codec, safetensors.
    pub codec_file: PathBuf,
    /// The text tokenizer, a SentencePiece model.
    pub tokenizer_file: PathBuf,
    pub lm: SpeechLm,
    /// Steps by which audio lags text.
    pub audio_delay: u32,
    /// Words by which the second text stream runs ahead; 0 where there is none.
    pub second_stream_ahead: usize,
    /// Most steps without the start of a word, before one is forced.
    pub max_padding: u32,
    /// Steps of padding before the first word.
    pub initial_padding: u32,
    /// Steps of audio after the last word.
    pub final_padding: u32,
    /// Least steps of padding between two words; 0 leaves it to the model.
    pub padding_between: u32,
    /// Token before the first word of a stream, which the model puts there itself.
    pub bos_token: Option<u32>,
    /// Vectors of a voice.
    pub voice_steps: usize,
    /// Voices whose keys and values are kept for streams to come.
    pub kept_voices: usize,
    /// What a row is sampled with where its client asks for nothing.
    pub sampling: Sampling,
    /// Format of the weights; without it that of the file.
    pub weights: Option<WeightFormat>,
    /// Format of keys and values; without it the engine's choice.
    pub kv_cache: Option<KvFormat>,
}

/// What one row is sampled with.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RowSampling {
    pub(crate) temperature: f64,
    pub(crate) text_temperature: f64,
    /// 0 samples from all codes.
    pub(crate) top_k: usize,
    pub(crate) text_top_k: usize,
    pub(crate) padding_bonus: f32,
    pub(crate) guidance: Option<f32>,
    pub(crate) codebooks: usize,
}

impl TtsConfig {
    /// Returns the configuration of `checkpoint` with the settings that Kyutai's server has without being told others. The
    /// files are named as `config.json` names them; the caller says where they are.
    #[must_use]
    pub fn new(checkpoint: SpeechCheckpoint) -> Self {
        let SpeechCheckpoint {
            lm,
            moshi_name,
            mimi_name,
            tokenizer_name,
            tts_config,
            model_id: _,
            lm_gen_config,
        } = checkpoint;
        Self {
            lm_file: moshi_name.into(),
            codec_file: mimi_name.into(),
            tokenizer_file: tokenizer_name.into(),
            audio_delay: (tts_config.audio_delay * FRAME_RATE) as u32,
            second_stream_ahead: tts_config.second_stream_ahead,
            max_padding: 8,
            initial_padding: 2,
            final_padding: 4,
            padding_between: 1,
            // Models that know several voices are told whose turn it is.
            bos_token: lm.voice().map(|_| 1),
            voice_steps: VOICE_STEPS,
            kept_voices: 4,
            sampling: Sampling {
                temperature: lm_gen_config.temp,
                text_temperature: lm_gen_config.text_temp,
                cfg: Some(2.0),
                ..Sampling::default()
            },
            weights: None,
            kv_cache: None,
            lm,
        }
    }

    /// Returns the rules of the text machine.
    pub(crate) fn rules(&self) -> MachineRules {
        MachineRules {
            ahead: self.second_stream_ahead,
            max_padding: self.max_padding,
            initial_padding: self.initial_padding,
            final_padding: self.final_padding,
            padding_between: self.padding_between,
            bos: self.bos_token,
            audio_delay: u64::from(self.audio_delay),
            acoustic_delay: self.delays().latest(),
        }
    }

    /// Returns when the codebooks are chosen.
    pub(crate) fn delays(&self) -> Delays {
        Delays {
            audio: u64::from(self.audio_delay),
            books: self.lm.audio_delays().to_vec(),
            initial: self.lm.card as u32,
        }
    }

    /// Returns what a row is sampled with that was asked for as `asked`: what is left out is as configured.
    pub(crate) fn row_sampling(&self, asked: &Sampling) -> RowSampling {
        let set = &self.sampling;
        let books = self.lm.dep_q;
        let temperature = |asked: Option<f32>, set: Option<f32>| f64::from(asked.or(set).unwrap_or(0.6));
        let codebooks = asked.codebooks.or(set.codebooks);
        RowSampling {
            temperature: temperature(asked.temperature, set.temperature),
            text_temperature: temperature(asked.text_temperature, set.text_temperature),
            top_k: asked.top_k.or(set.top_k).unwrap_or(250) as usize,
            text_top_k: asked.text_top_k.or(set.text_top_k).unwrap_or(25) as usize,
            padding_bonus: asked.padding_bonus.or(set.padding_bonus).unwrap_or(0.0),
            guidance: asked.cfg.or(set.cfg),
            codebooks: codebooks.map_or(books, |n| (n as usize).clamp(1, books)),
        }
    }

    /// Checks the codebooks of the language model against those of the codec, and its text against its streams.
    ///
    /// # Errors
    /// They do not fit.
    pub(crate) fn check(&self, mimi: &MimiConfig) -> Result<(), LoadError> {
        let (lm, q) = (&self.lm, &mimi.quantizer);
        lm.supported()?;
        if lm.dep_q > q.n_q || lm.card != q.bins {
            return Err(LoadError::Config(format!(
                "config.json: dep_q is {} of {} entries, but the codec has {} of {}",
                lm.dep_q, lm.card, q.n_q, q.bins
            )));
        }
        if lm.demux_second_stream != (self.second_stream_ahead > 0) {
            return Err(LoadError::Config(
                "config.json: demux_second_stream and tts_config.second_stream_ahead go together".to_owned(),
            ));
        }
        Ok(())
    }

    /// Returns what the pipeline must know of the model with `rows` rows.
    pub(crate) fn spec(&self, mimi: &MimiConfig, rows: usize, bytes_per_row: u64) -> Spec {
        Spec {
            rows,
            sample_rate: mimi.sample_rate,
            frame_samples: mimi.frame_samples(),
            ports: Ports::SPEECH,
            tail: Tail::RunDry,
            text_delay: 0,
            pause_heads: 0,
            bytes_per_row,
        }
    }
}

/// A configuration with its open files.
pub(crate) struct TtsCheckpoint<'a> {
    pub(crate) config: &'a TtsConfig,
    pub(crate) mimi: &'a MimiConfig,
    pub(crate) codec: &'a Weights,
    pub(crate) lm: &'a Weights,
}
