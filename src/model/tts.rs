//! Text to speech: the text machine, the language model with its depformer, and Mimi's decoder behind [`StreamModel`].
//!
//! [`StreamModel`]: super::StreamModel

pub(crate) mod machine;
