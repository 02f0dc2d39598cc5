//! Shapes, tensor names, supported settings and memory of a model, as data that every engine reads.
//!
//! Nothing here computes a step. An engine takes a shape and the names of its tensors from here, and holds the weights
//! in its own way.

pub(crate) mod conv;
pub mod dtype;
pub mod lm;
pub mod memory;
pub mod mimi;
pub(crate) mod quantizer;
pub(crate) mod seanet;
pub(crate) mod transformer;
