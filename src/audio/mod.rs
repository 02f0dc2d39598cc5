//! Audio in any form to what the models hear: mono, 24 kHz, f32 in [-1, 1]. Pure: bytes in, samples out.

pub mod decode;
pub mod file;
pub mod g711;
pub mod ogg;
pub mod ogg_opus;
pub mod ogg_writer;
#[allow(unsafe_code, reason = "the binding of libopus")]
pub mod opus;
pub mod pcm;
pub mod resample;
