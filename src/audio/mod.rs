//! Audio in any form to what the models hear: mono, 24 kHz, f32 in [-1, 1]; and what models say to what listeners are sent.
//! Pure: bytes in, samples out, and the other way.

pub mod decode;
pub mod encode;
pub mod file;
pub mod g711;
pub mod live;
pub mod ogg;
pub mod ogg_opus;
pub mod ogg_writer;
#[allow(unsafe_code, reason = "the binding of libopus")]
pub mod opus;
pub mod pcm;
pub mod resample;
pub mod wav_writer;
