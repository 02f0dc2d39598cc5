//! A speaking checkpoint as its `config.json` describes it, and its voices.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::model::error::LoadError;
use crate::model::layout::speech::SpeechLm;
use crate::model::weights::Weights;
use crate::stream::voice::Voice;

/// The tensor that a voice's file holds, `[1, width, steps]`.
const VOICE_TENSOR: &str = "speaker_wavs";

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

/// Reads the voice in the file at `path`, to be called `name`.
///
/// # Errors
/// The file cannot be read, or holds no voice.
pub fn load_voice(path: &Path, name: &str) -> Result<Voice, LoadError> {
    let w = Weights::open(path)?;
    let shape = w.shape(VOICE_TENSOR).map(<[usize]>::to_vec);
    let Some(shape) = shape.filter(|shape| shape.len() == 3 && shape[0] == 1) else {
        return Err(LoadError::Voice {
            path: PathBuf::from(path),
        });
    };
    let values = w.values(VOICE_TENSOR, &shape)?;
    let (width, steps) = (shape[1], shape[2]);
    let vectors = (0..steps).flat_map(|step| (0..width).map(move |i| i * steps + step));
    Ok(Voice {
        name: Some(name.into()),
        embedding: vectors.map(|at| values[at]).collect(),
        steps,
        width,
    })
}
