//! The input stage: what clients send becomes frames for the engine.

pub mod stage;
