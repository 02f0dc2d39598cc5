//! The engine on processors: rows are computed one after the other over shared weights, by the threads of one pool.

mod backbone;
mod cross_attention;
mod depformer;
mod embedding;
pub(crate) mod formats;
#[allow(unsafe_code, reason = "vector instructions, and strips that threads share")]
mod kernels;
mod key_values;
mod kv_cache;
mod linear;
mod lm;
mod memory;
mod mimi;
mod norm;
pub(crate) mod sampling;
mod speech_lm;
mod stt;
mod transformer;
mod tts;
mod voices;

pub(super) use kernels::pool::Pool;
pub(super) use memory::free_bytes;
pub(super) use mimi::MimiDecoder;
pub(super) use stt::load;
pub(super) use tts::load as load_tts;

#[cfg(test)]
pub(super) use {
    depformer::{Depformer, Frame},
    formats::Formats,
    lm::Lm,
    mimi::MimiEncoder,
    speech_lm::{Input, SpeechModel},
};
