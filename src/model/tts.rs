//! Text to speech: the text machine, the language model with its depformer, and Mimi's decoder behind
//! [`StreamModel`](super::StreamModel).

pub(crate) mod checkpoint;
pub(crate) mod codes;
pub(crate) mod conditions;
pub(crate) mod config;
pub(crate) mod machine;

use std::sync::Arc;

pub use self::checkpoint::SpeechCheckpoint;
use self::config::TtsCheckpoint;
pub use self::config::TtsConfig;
use super::cpu;
use super::device::Device;
use super::error::LoadError;
use super::layout::mimi::MimiConfig;
use super::stt::{LoadOptions, Loaded};
use super::tokenizer::Tokenizer;
use super::weights::Weights;

/// Loads the model that `config` describes.
///
/// # Errors
/// A file is missing, broken or belongs to another configuration, the rows do not fit into memory, or the device is one
/// that this model is not computed on.
pub fn load(config: &TtsConfig, options: LoadOptions) -> Result<Loaded, LoadError> {
    let text = Tokenizer::open(&config.tokenizer_file)?;
    if text.len() != config.lm.text_card {
        return Err(LoadError::Vocabulary {
            path: config.tokenizer_file.clone(),
            found: text.len(),
            expected: config.lm.text_card,
        });
    }
    let codec = Weights::open(&config.codec_file)?;
    let lm = Weights::open(&config.lm_file)?;
    let checkpoint = TtsCheckpoint {
        config,
        mimi: &MimiConfig::of(&codec)?,
        codec: &codec,
        lm: &lm,
    };
    config.check(checkpoint.mimi)?;
    let model = match options.device {
        Device::Cpu => cpu::load_tts(&checkpoint, options.rows, options.threads)?,
        #[cfg(feature = "cuda")]
        Device::Cuda(_) => {
            return Err(LoadError::Config(
                "speech is computed on CPUs: set the module's device to cpu".to_owned(),
            ));
        }
    };
    Ok(Loaded {
        model,
        text: Arc::new(text),
    })
}
