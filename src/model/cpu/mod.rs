//! The engine on processors: rows are computed one after the other over shared weights, by the threads of one pool.

pub(crate) mod formats;
#[allow(unsafe_code, reason = "vector instructions, and strips that threads share")]
mod kernels;
mod kv_cache;
mod linear;
mod lm;
mod memory;
mod mimi;
pub(crate) mod sampling;
mod stt;
mod transformer;

pub(super) use kernels::pool::Pool;
pub(super) use memory::free_bytes;
pub(super) use mimi::MimiDecoder;
pub(super) use stt::load;

#[cfg(test)]
pub(super) use {formats::Formats, lm::Lm, mimi::MimiEncoder};
