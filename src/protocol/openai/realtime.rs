//! OpenAI's Realtime API for transcription: base64 audio in, words and turns out, in the form of its general release and of its beta.
//!
//! Turns are what the [segmenter](crate::protocol::segmenter) finds, or what the client commits. An `error` makes the commonest
//! clients give up, so it is sent only for what cannot be done; fields that mean nothing to this server are echoed or passed over.

mod decoder;
mod encoder;
mod events;
mod item;
pub mod session;

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;

use self::decoder::Reader;
use self::encoder::Writer;
use self::session::Settings;
use super::error::ApiError;
use crate::protocol::dialect::Dialect;
use crate::stream::end::{End, EndReason};

/// Most answers that may wait for a client that does not read.
const MAX_REPLIES: usize = 64;

/// Opens the dialect of a session that begins with `settings`.
#[must_use]
pub fn open(settings: Settings) -> Dialect {
    let mut shared = Shared {
        settings,
        changed: false,
        replies: VecDeque::new(),
        asked: VecDeque::new(),
    };
    let created = events::session(shared.settings.created_name(), &shared.settings);
    shared.replies.push_back(created);
    let shared = Arc::new(Mutex::new(shared));
    Dialect {
        decoder: Box::new(Reader::new(Arc::clone(&shared))),
        encoder: Box::new(Writer::new(shared)),
        can_queue: true,
    }
}

/// What the halves share.
#[derive(Debug)]
struct Shared {
    settings: Settings,
    /// The settings changed since the encoder last looked.
    changed: bool,
    /// Answers that need no stream.
    replies: VecDeque<String>,
    /// What the client asked of the stream and was not answered yet; as many as its credits pay for.
    asked: VecDeque<Asked>,
}

/// A request that the stream answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Commit,
    Clear,
}

impl Shared {
    fn reply(&mut self, event: String) -> Result<(), End> {
        if self.replies.len() >= MAX_REPLIES {
            return Err(EndReason::SlowReader.into());
        }
        self.replies.push_back(event);
        Ok(())
    }

    fn fail(&mut self, error: &ApiError, event_id: Option<&str>) -> Result<(), End> {
        self.reply(events::error(error, event_id))
    }
}

#[cfg(test)]
mod tests;
