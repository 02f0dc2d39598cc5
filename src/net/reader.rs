//! The reader: the one task that reads a client's socket.
//!
//! It never selects over a read and never times one out: a read that is dropped half way loses bytes. It ends with the
//! stream or the connection. While its session takes nothing it does not read, and TCP slows the client down.

use fastwebsockets::{Role, after_handshake_split};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::frames::{Messages, too_big};
use crate::protocol::dialect::Decoder;
use crate::session::connection::{Inbound, ReadHalf, SideMsg};
use crate::stream::input::Input;

/// Reads messages until the client or the session ends, then swallows what still comes, so that the close frame is not lost
/// to a connection reset.
pub(super) async fn read(
    mut socket: impl AsyncRead + Unpin,
    mut decoder: Box<dyn Decoder>,
    most: usize,
    to: ReadHalf,
) {
    let (frames, _) = after_handshake_split(&mut socket, tokio::io::sink(), Role::Server);
    let mut messages = Messages::new(frames, most);
    let end = loop {
        let input = match messages.next(&to).await {
            Ok((kind, data)) => decoder.decode(kind, data),
            Err(end) => break Some(end),
        };
        if decoder.replies() {
            // When the client takes nothing, its reply goes out with what it takes next.
            let _ = to.side.try_send(SideMsg::Reply);
        }
        match input {
            // A number may take one byte on the wire and decode to a sample of four.
            Ok(Some(Input::Audio(audio))) if audio.data.len() > most => break Some(too_big(most)),
            Ok(None) => {}
            Ok(Some(input)) => {
                if to.inbox.send(Inbound::Input(input)).await.is_err() {
                    break None;
                }
            }
            Err(end) => break Some(end),
        }
    };
    drop(messages);
    let ReadHalf {
        inbox,
        side: _,
        seen: _,
        gone,
    } = to;
    if let Some(end) = end {
        // The session may have ended first.
        let _ = inbox.send(Inbound::Ended(end)).await;
    }
    drop((inbox, gone));
    let mut scrap = [0; 1024];
    while socket.read(&mut scrap).await.is_ok_and(|n| n > 0) {}
}
