//! The engine against what the reference implementation computed (see `tools/reference`), and against itself.

mod codec;
pub(super) mod fixture;
mod parity;
mod rejects;
mod rows;
pub(super) mod speaker;
mod speech;
mod speech_rows;
