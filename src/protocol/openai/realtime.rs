//! OpenAI's Realtime API for transcription: base64 audio in, words and turns out, in the form of its general release and of its beta.
//!
//! Turns are what the [segmenter](crate::protocol::segmenter) finds, or what the client commits. An `error` makes the commonest
//! clients give up, so it is sent only for what cannot be done; fields that mean nothing to this server are echoed or passed over.

mod decoder;
mod encoder;
mod events;
mod ids;
mod item;
pub mod session;
mod shared;

use std::sync::Arc;

use parking_lot::Mutex;

use self::decoder::Reader;
use self::encoder::Writer;
use self::session::Settings;
use self::shared::Shared;
use crate::protocol::dialect::Dialect;
use crate::stream::voice::SpeakerRequest;

/// Opens the dialect of a session that begins with `settings`.
#[must_use]
pub fn open(settings: Settings) -> Dialect {
    let shared = Arc::new(Mutex::new(Shared::new(settings)));
    Dialect {
        decoder: Box::new(Reader::new(Arc::clone(&shared))),
        encoder: Box::new(Writer::new(shared)),
        can_queue: true,
        speaker: SpeakerRequest::default(),
    }
}

#[cfg(test)]
mod tests;
