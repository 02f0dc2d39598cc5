//! Mimi's encoder on a device.

mod conv;
mod encoder;
mod quantizer;
mod seanet;

pub(super) use encoder::MimiEncoder;
