//! Shapes, tensor names, supported settings and memory of a model, as data that every engine reads.
//!
//! Nothing here computes a step. An engine takes a shape and the names of its tensors from here, and holds the weights
//! in its own way.

pub(crate) mod conditioners;
pub(crate) mod conv;
pub(crate) mod cross_attention;
pub(crate) mod depformer;
pub mod dtype;
pub(crate) mod embedding;
pub mod lm;
pub mod memory;
pub mod mimi;
pub(crate) mod quantizer;
pub(crate) mod seanet;
pub mod speech;
pub(crate) mod speech_memory;
pub(crate) mod transformer;
