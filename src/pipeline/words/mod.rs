//! The words stage: tokens of each row become words with times.

pub mod assembler;
