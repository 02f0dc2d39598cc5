//! The end of a stream, with and without our extras.
//!
//! Kyutai's own server has no message for it: it answers a marker, and only while audio comes. So such a server gets a
//! marker and then silence until it has answered.

use super::{ClientError, Sender};
use crate::protocol::kyutai::server::ServerMsg;
use crate::stream::frame::FRAME_DURATION;

/// The marker that asks for the end.
const LAST: i64 = 0;

/// Most silence for the answer to come, in seconds.
const SILENCE_S: u64 = 30;

/// Asks the server for everything that is left. Returns how many frames of silence the caller has to send now for the
/// answer to come.
///
/// # Errors
/// The connection is lost.
pub async fn finish(sender: &Sender, extras: bool) -> Result<u64, ClientError> {
    if extras {
        sender.end_of_stream().await?;
        return Ok(0);
    }
    sender.marker(LAST).await?;
    Ok(SILENCE_S * 1000 / FRAME_DURATION.as_millis() as u64)
}

/// Whether `message` answers [`finish`]: nothing of the stream follows.
#[must_use]
pub fn is_finished(message: &ServerMsg, extras: bool) -> bool {
    match message {
        ServerMsg::EndOfStream => true,
        ServerMsg::Marker { id } => !extras && *id == LAST,
        _ => false,
    }
}
