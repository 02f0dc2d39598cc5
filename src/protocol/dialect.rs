//! A dialect: what one client speaks, for the life of its connection.
//!
//! A connection is read by one task and written by another, so a dialect is made as two halves. A half may keep state
//! between messages: a dialect whose clients say only in their first message what they want settles it then, and shares it
//! between its halves itself.
//!
//! Most dialects translate one message or event at a time. Those whose clients expect more have four further means, which do
//! nothing unless a dialect fills them in: several messages of one event ([`Encoder::more`]), answers to a message that needs no
//! stream ([`Decoder::replies`]), a clock ([`Encoder::deadline`]), and requests of their own to the stream
//! ([`Encoder::ask`]).

use std::time::Instant;

use bytes::Bytes;

use super::query::BadQuery;
use crate::stream::end::End;
use crate::stream::input::Input;
use crate::stream::output::Output;
use crate::stream::voice::SpeakerRequest;

/// Kind of a WebSocket message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    Text,
    Binary,
}

/// Reads what the client sends.
pub trait Decoder: Send {
    /// Reads one message. `None` is a message that says nothing to this server.
    ///
    /// # Errors
    /// The message cannot be understood: how the stream ends, with words for the client.
    fn decode(&mut self, kind: FrameKind, message: Bytes) -> Result<Option<Input>, End>;

    /// Returns whether the encoder has something to say because of the last message, whatever the stream does. The halves
    /// share what it is, within a bound of their own; [`Encoder::more`] is called soon.
    fn replies(&self) -> bool {
        false
    }

    /// Returns the bytes of the longest message of its clients, which is taken even where `max_message_bytes` allows only
    /// shorter ones.
    fn longest_message(&self) -> usize {
        0
    }
}

/// Writes what the client is told.
pub trait Encoder: Send {
    /// Writes `output` into `message`, which is cleared first. `None` is an event that this client does not know.
    fn encode(&mut self, output: Output, message: &mut Vec<u8>) -> Option<FrameKind>;

    /// Writes the next message besides the one that [`Self::encode`] wrote into `message`, which is cleared first. Called until
    /// it returns `None`: when the connection opens, after each event, when the decoder replies, and at the deadline.
    fn more(&mut self, message: &mut Vec<u8>) -> Option<FrameKind> {
        let _ = message;
        None
    }

    /// Notes that it is `now`. Called before each event and at the deadline.
    fn tick(&mut self, now: Instant) {
        let _ = now;
    }

    /// Returns when [`Self::tick`] is to be called although nothing happened.
    fn deadline(&self) -> Option<Instant> {
        None
    }

    /// Takes what the encoder itself wants of the stream, such as a flush at the end of an utterance. It joins what the client
    /// sent at the end of the inbox; while that is full it is not taken.
    fn ask(&mut self) -> Option<Input> {
        None
    }

    /// Returns header fields for the answer to the upgrade.
    fn fields(&self) -> Vec<(&'static str, String)> {
        Vec::new()
    }

    /// Writes the last message before the close frame into `message`, which is cleared first, for a client that was let in
    /// only to be told why it cannot stay. `None` where the close frame says it all.
    fn refuse(&mut self, why: &str, message: &mut Vec<u8>) -> Option<FrameKind>;

    /// Writes the last message before the close frame of a session that ended as `end` says into `message`, which is cleared
    /// first. `None` where the close frame says it all.
    fn farewell(&mut self, end: &End, message: &mut Vec<u8>) -> Option<FrameKind> {
        let _ = (end, message);
        None
    }

    /// Returns the code and the text of the close frame (RFC 6455, section 7.4). The text has at most 123 bytes.
    fn close<'e>(&self, end: &'e End) -> (u16, &'e str);
}

/// One client's dialect.
pub struct Dialect {
    pub decoder: Box<dyn Decoder>,
    pub encoder: Box<dyn Encoder>,
    /// The client knows that it may have to wait for a row. Others are to hear at once that there is none.
    pub can_queue: bool,
    /// What a client of a module that speaks asks of its voice.
    pub speaker: SpeakerRequest,
}

/// Opens a dialect as the query string of a request asks.
pub type OpenDialect = fn(query: &str) -> Result<Dialect, BadQuery>;
