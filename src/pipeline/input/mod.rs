//! The input stage: what clients send becomes frames and tokens for the engine.

pub mod stage;
pub mod text;
