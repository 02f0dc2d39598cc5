//! What the two halves of a Realtime session share.

use std::collections::VecDeque;

use super::events;
use super::session::Settings;
use crate::protocol::openai::error::ApiError;
use crate::stream::end::{End, EndReason};

/// Most answers that may wait for a client that does not read.
const MAX_REPLIES: usize = 32;

/// What the halves share.
#[derive(Debug)]
pub(super) struct Shared {
    pub(super) settings: Settings,
    /// The settings changed since the encoder last looked.
    pub(super) changed: bool,
    /// Answers that need no stream.
    pub(super) replies: VecDeque<String>,
    /// What the client asked of the stream and was not answered yet; as many as its credits pay for.
    pub(super) asked: VecDeque<Asked>,
}

/// A request that the stream answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asked {
    Commit,
    Clear,
}

impl Shared {
    /// What a session that begins with `settings` shares: its greeting is the first answer.
    pub(super) fn new(settings: Settings) -> Self {
        let created = events::session(settings.created_name(), &settings);
        Self {
            settings,
            changed: false,
            replies: VecDeque::from([created]),
            asked: VecDeque::new(),
        }
    }

    /// Leaves an answer for the client.
    pub(super) fn reply(&mut self, event: String) -> Result<(), End> {
        if self.replies.len() >= MAX_REPLIES {
            return Err(EndReason::SlowReader.into());
        }
        self.replies.push_back(event);
        Ok(())
    }

    /// Leaves word of an error, which the event `event_id` made.
    pub(super) fn fail(&mut self, error: &ApiError, event_id: Option<&str>) -> Result<(), End> {
        self.reply(events::error(error, event_id))
    }
}
