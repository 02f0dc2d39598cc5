//! A dialect: what one client speaks, for the life of its connection.
//!
//! A connection is read by one task and written by another, so a dialect is made as two halves. A half may keep state
//! between messages: a dialect whose clients say only in their first message what they want settles it then, and shares it
//! between its halves itself.

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
}

/// Writes what the client is told.
pub trait Encoder: Send {
    /// Writes `output` into `message`, which is cleared first. `None` is an event that this client does not know.
    fn encode(&mut self, output: Output, message: &mut Vec<u8>) -> Option<FrameKind>;

    /// Writes a further message of the last event into `message`, which is cleared first, as long as there is one.
    fn more(&mut self, _message: &mut Vec<u8>) -> Option<FrameKind> {
        None
    }

    /// Writes the last message before the close frame into `message`, which is cleared first, for a client that was let in
    /// only to be told why it cannot stay. `None` where the close frame says it all.
    fn refuse(&mut self, why: &str, message: &mut Vec<u8>) -> Option<FrameKind>;

    /// Returns the code and the text of the close frame (RFC 6455, section 7.4). The text has at most 123 bytes.
    fn close<'e>(&self, end: &'e End) -> (u16, &'e str);
}

/// One client's dialect.
pub struct Dialect {
    pub decoder: Box<dyn Decoder>,
    pub encoder: Box<dyn Encoder>,
    /// The client knows that it may have to wait for a row. Others are to hear at once that there is none.
    pub can_queue: bool,
    /// Messages of so many bytes are taken even where the configuration allows only shorter ones.
    pub least_message_bytes: usize,
    /// What a client of a module that speaks asks of its voice.
    pub speaker: SpeakerRequest,
}

/// Opens a dialect as the query string of a request asks.
pub type OpenDialect = fn(query: &str) -> Result<Dialect, BadQuery>;
