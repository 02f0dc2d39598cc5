//! A speaking checkpoint as its `config.json` describes it, and its voices.

use std::path::Path;

use serde::Deserialize;

use crate::model::error::LoadError;
use crate::model::layout::speech::SpeechLm;

/// What `config.json` says of a checkpoint.
#[derive(Clone, Debug, Deserialize)]
pub struct SpeechCheckpoint {
    #[serde(flatten)]
    pub lm: SpeechLm,
    /// File of the language model.
    #[serde(default = "moshi_name")]
    pub moshi_name: String,
    /// File of the codec.
    #[serde(default = "mimi_name")]
    pub mimi_name: String,
    /// File of the text tokenizer.
    #[serde(default = "tokenizer_name")]
    pub tokenizer_name: String,
    pub tts_config: SpeechTimes,
    pub model_id: Option<ModelId>,
    #[serde(default)]
    pub lm_gen_config: Temperatures,
}

/// How the streams of a speaking model lie to each other.
#[derive(Clone, Debug, Deserialize)]
pub struct SpeechTimes {
    /// Seconds by which audio lags text.
    pub audio_delay: f64,
    /// Words by which the second text stream runs ahead; 0 where there is none.
    #[serde(default)]
    pub second_stream_ahead: usize,
}

/// Which training run a checkpoint comes from.
#[derive(Clone, Debug, Deserialize)]
pub struct ModelId {
    pub sig: String,
    pub epoch: u64,
}

/// Temperatures that the checkpoint is published with.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
pub struct Temperatures {
    pub temp: Option<f32>,
    pub text_temp: Option<f32>,
}

fn moshi_name() -> String {
    "model.safetensors".to_owned()
}

fn mimi_name() -> String {
    "tokenizer-e351c8d8-checkpoint125.safetensors".to_owned()
}

fn tokenizer_name() -> String {
    "tokenizer_spm_32k_3.model".to_owned()
}

impl SpeechCheckpoint {
    /// Reads the `config.json` at `path`.
    ///
    /// # Errors
    /// The file cannot be read, or does not describe a speaking checkpoint.
    pub fn read(path: &Path) -> Result<Self, LoadError> {
        let text = std::fs::read_to_string(path).map_err(|source| LoadError::Read {
            path: path.to_owned(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|error| LoadError::Checkpoint {
            path: path.to_owned(),
            reason: error.to_string(),
        })
    }

    /// Returns how the names of this checkpoint's voices end: another checkpoint's voices do not fit.
    #[must_use]
    pub fn voice_suffix(&self) -> String {
        match &self.model_id {
            Some(id) => format!(".{}@{}.safetensors", id.sig, id.epoch),
            None => ".safetensors".to_owned(),
        }
    }
}
