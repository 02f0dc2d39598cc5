//! The command line.

pub mod configs;
pub mod demo;
mod live;
pub mod transcribe;
pub mod validate;
