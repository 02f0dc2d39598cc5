//! OpenAI's routes for speech to text, as its clients read and write them.

pub mod error;
pub mod realtime;
pub mod transcription;
