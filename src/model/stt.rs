//! Speech to text: Mimi's encoder and the language model behind [`StreamModel`].

pub(crate) mod config;

use std::sync::Arc;

pub(crate) use self::config::Checkpoint;
pub use self::config::{Conditioning, SttConfig};
use super::device::Device;
use super::error::LoadError;
use super::layout::mimi::MimiConfig;
use super::tokenizer::Tokenizer;
use super::weights::Weights;
use super::{StreamModel, cpu};

/// How to load a model.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Rows to make state for.
    pub rows: usize,
    /// Threads that compute a step, the calling one included.
    pub threads: usize,
    pub device: Device,
}

/// A loaded model and the text of its tokens.
pub struct Loaded {
    pub model: Box<dyn StreamModel>,
    pub text: Arc<Tokenizer>,
}

/// Loads the model that `config` describes.
///
/// # Errors
/// A file is missing, broken or belongs to another configuration, the rows do not fit into memory, or the device does
/// not have what was asked for.
pub fn load(config: &SttConfig, options: LoadOptions) -> Result<Loaded, LoadError> {
    let text = Tokenizer::open(&config.tokenizer_file)?;
    if text.len() != config.lm.text_out_vocab_size {
        return Err(LoadError::Vocabulary {
            path: config.tokenizer_file.clone(),
            found: text.len(),
            expected: config.lm.text_out_vocab_size,
        });
    }
    let codec = Weights::open(&config.codec_file)?;
    let lm = Weights::open(&config.lm_file)?;
    let checkpoint = Checkpoint {
        config,
        mimi: &MimiConfig::of(&codec)?,
        codec: &codec,
        lm: &lm,
    };
    config.check_codebooks(checkpoint.mimi)?;
    let model = match options.device {
        Device::Cpu => cpu::load(&checkpoint, options.rows, options.threads)?,
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => super::cuda::load(&checkpoint, options.rows, ordinal)?,
    };
    Ok(Loaded {
        model,
        text: Arc::new(text),
    })
}
