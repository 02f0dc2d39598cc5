//! The engine on NVIDIA GPUs: own kernels for everything but matrix products, which cuBLAS does.
//!
//! `kernels/*.cu` are the kernels, `kernels/ptx` what a compiler made of them, so that building needs no CUDA toolkit.
//! [`engine`] queues a step through the [`backend::Backend`] it is given: `driver` is a GPU's, and the tests run the same
//! engine and the same kernel sources on the processor through an emulator. What that can and cannot show, and what has
//! been seen on a GPU, is in `docs/gpu.md`.

mod args;
mod backend;
mod conv;
mod engine;
mod lm;
mod mimi;
mod source;
mod transformer;

#[cfg(feature = "cuda")]
pub mod check;
#[cfg(feature = "cuda")]
mod driver;
#[cfg(feature = "cuda")]
mod lane;
#[cfg(feature = "cuda")]
mod load;
#[cfg(feature = "cuda")]
mod presence;
#[cfg(feature = "cuda")]
mod profile;
#[cfg(feature = "cuda")]
pub(super) use {
    load::load,
    presence::{count, presence},
};

#[cfg(test)]
mod emulator;
#[cfg(test)]
mod tests;
