//! Mimi on a CPU: the encoder, and the decoder for models that speak.

mod conv;
mod decoder;
mod dequantizer;
mod encoder;
mod quantizer;
mod seanet;
mod upsample;

pub(crate) use decoder::MimiDecoder;
pub(crate) use encoder::MimiEncoder;
