//! Why a model cannot be loaded, said so that the reader knows which file or key to look at.

use std::path::PathBuf;

/// A model that cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot read {path}: {source}")]
    Read { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a whole safetensors file ({reason}); download it again")]
    Broken { path: PathBuf, reason: String },
    #[error(
        "{path} has no tensor `{name}`, expected with shape {shape:?}; is it the file for this configuration?"
    )]
    Missing {
        path: PathBuf,
        name: String,
        shape: Vec<usize>,
    },
    #[error("{path}: tensor `{name}` has shape {found:?}, the configuration asks for {expected:?}")]
    Shape {
        path: PathBuf,
        name: String,
        found: Vec<usize>,
        expected: Vec<usize>,
    },
    #[error("{path}: tensor `{name}` holds {found}; expected f32, f16 or bf16")]
    Dtype {
        path: PathBuf,
        name: String,
        found: String,
    },
    #[error("{path}: metadata key `{key}` is not valid: {reason}")]
    Metadata {
        path: PathBuf,
        key: &'static str,
        reason: String,
    },
    #[error("{path} does not describe a checkpoint that speaks ({reason}); is it the `config.json` of one?")]
    Checkpoint { path: PathBuf, reason: String },
    #[error("{path} holds no voice: {reason}")]
    Voice { path: PathBuf, reason: String },
    #[error("{path} is not a SentencePiece model: {reason}")]
    Tokenizer { path: PathBuf, reason: String },
    #[error(
        "{path} has {found} pieces but text_out_vocab_size is {expected}; it belongs to another checkpoint"
    )]
    Vocabulary {
        path: PathBuf,
        found: usize,
        expected: usize,
    },
    #[error("configuration: {0}")]
    Config(String),
    #[error(
        "{rows} rows need {need_mib} MiB of state ({row_mib:.1} MiB each) beside {weights_mib} MiB of weights, but only \
         {free_mib} MiB are free; {fit} rows fit: lower batch_size"
    )]
    Memory {
        rows: usize,
        need_mib: u64,
        row_mib: f64,
        weights_mib: u64,
        free_mib: u64,
        fit: u64,
    },
    #[error(
        "device `{0}`: this program was built without CUDA; use --device cpu, or build with --features cuda"
    )]
    NoCuda(String),
    #[error("device `{device}`: {reason}")]
    NoGpu { device: String, reason: String },
    #[error("unknown device `{0}`: use cpu, cuda:N, cuda:all, GPUs as cuda:0,cuda:1, or auto")]
    UnknownDevice(String),
    #[error("devices `{0}`: only GPUs can be in a list, as cuda:0,cuda:1")]
    DeviceList(String),
    #[error("device `{0}` is named twice")]
    DeviceTwice(String),
    #[error("GPU: {0}")]
    Gpu(String),
    #[error("cannot start compute threads: {0}")]
    Threads(std::io::Error),
}
