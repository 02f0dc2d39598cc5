//! Kyutai's protocols, byte for byte, with extras that a client asks for in its query.

pub mod asr;
pub mod client;
mod form;
mod msgpack;
pub mod server;
pub mod tts;

pub use self::form::Form;
