//! Number formats that the engine for processors computes with.

use crate::model::layout::dtype::{Real, WeightFormat};

/// Number formats of the language model. The codec is held as f32.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Formats {
    /// Of linear weights; without one as the file holds them.
    pub(crate) weights: Option<WeightFormat>,
    /// Of keys and values.
    pub(crate) cache: Real,
}
