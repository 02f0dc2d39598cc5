//! Mimi's encoder on a CPU.

mod conv;
mod encoder;
mod quantizer;
mod seanet;

pub(crate) use encoder::MimiEncoder;
