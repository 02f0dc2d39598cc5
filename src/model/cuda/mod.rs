//! The engine on NVIDIA GPUs: own kernels for everything but matrix products, which cuBLAS does.
//!
//! `kernels/*.cu` are the kernels, `kernels/ptx` what a compiler made of them, so that building needs no CUDA toolkit.
//! A model ([`stt`]) queues the parts of a step ([`schedule`]) through the [`backend::Backend`] that it is given: `driver`
//! is a GPU's, and the tests run the same model and the same kernel sources on the processor through an emulator. What
//! that can and cannot show, and what has been seen on a GPU, is in `docs/gpu.md`.

#[allow(unsafe_code, reason = "host memory that a device writes")]
mod backend;
#[allow(unsafe_code, reason = "arguments as the kernels lay them out")]
mod kernels;
mod lm;
mod mimi;
mod schedule;
mod source;
mod stt;
mod transformer;

#[cfg(feature = "cuda")]
pub mod check;
#[cfg(feature = "cuda")]
#[allow(unsafe_code, reason = "calls of the CUDA driver and cuBLAS")]
mod driver;
#[cfg(feature = "cuda")]
mod load;
#[cfg(feature = "cuda")]
pub(super) use {
    driver::presence::{count, presence},
    load::load,
};

#[cfg(test)]
#[allow(unsafe_code, reason = "a device's memory, and kernels from a library")]
mod emulator;
#[cfg(test)]
mod tests;
