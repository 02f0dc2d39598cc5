//! The output stage: what steps produced becomes events of each stream.

pub mod clock;
mod speech;
pub mod stage;
mod transcript;
pub mod words;
