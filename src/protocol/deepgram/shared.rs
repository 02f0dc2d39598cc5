//! What the halves of a connection share.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use crate::protocol::uuid;

/// Replies that may wait for the encoder; a client that causes more gets no more until it reads.
pub(super) const MAX_REPLIES: usize = 16;

/// What the halves share.
#[derive(Clone, Default)]
pub(super) struct Shared(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    /// Messages that answer messages.
    replies: VecDeque<String>,
    /// Of all audio as it came.
    hash: Sha256,
    /// The client has ended the stream: requests behind that are not answered.
    ended: bool,
}

impl Shared {
    pub(super) fn reply(&self, message: String) {
        let replies = &mut self.0.lock().replies;
        if replies.len() < MAX_REPLIES {
            replies.push_back(message);
        }
    }

    pub(super) fn replied(&self) -> Option<String> {
        self.0.lock().replies.pop_front()
    }

    pub(super) fn end(&self) {
        self.0.lock().ended = true;
    }

    pub(super) fn has_ended(&self) -> bool {
        self.0.lock().ended
    }

    pub(super) fn waits(&self) -> bool {
        !self.0.lock().replies.is_empty()
    }

    pub(super) fn heard(&self, audio: &[u8]) {
        self.0.lock().hash.update(audio);
    }

    /// SHA-256 of all audio, in hexadecimal.
    pub(super) fn digest(&self) -> String {
        uuid::hex(&self.0.lock().hash.clone().finalize())
    }
}
