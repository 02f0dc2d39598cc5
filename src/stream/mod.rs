//! The vocabulary that every layer shares: rows, frames, what goes into a stream and what comes out of it, how it ends.
//!
//! Nothing here does anything, and nothing here imports another folder of this crate. A kind of module is described in
//! these words; a wire protocol translates them to bytes and back.

pub mod end;
pub mod frame;
pub mod ids;
pub mod input;
pub mod output;
pub mod secret;
pub mod sound;
pub mod stage;
pub mod text;
pub mod voice;
