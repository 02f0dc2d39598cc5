//! The reader: the one task that reads a client's socket.
//!
//! It never selects over a read and never times one out: a read that is dropped half way loses bytes. It ends when the
//! stream does, or with the connection. When its session takes nothing, it does not read, and TCP slows the client down.

use fastwebsockets::{Role, after_handshake_split};
use tokio::io::{AsyncRead, AsyncReadExt};

use super::frames::{Message, Messages, too_big};
use crate::protocol::Form;
use crate::protocol::client::{ClientMsg, Sound};
use crate::session::wire::{Farewell, Inbound, Reading};

/// Reads messages until the client or the session ends, then swallows what still comes, so that the farewell is not lost
/// to a connection reset.
pub(super) async fn read(mut socket: impl AsyncRead + Unpin, form: Form, most: usize, to: Reading) {
    let (frames, _) = after_handshake_split(&mut socket, tokio::io::sink(), Role::Server);
    let mut messages = Messages::new(frames, most);
    let farewell = loop {
        let message = match messages.next(&to).await {
            Ok(Message::Binary(data)) => ClientMsg::from_binary(data, form).map(Some),
            Ok(Message::Text(data)) => ClientMsg::from_text(&data, form),
            Err(farewell) => break Some(farewell),
        };
        match message {
            // Numbers can be shorter than the samples that they stand for.
            Ok(Some(ClientMsg::Audio(Sound::F32(samples)))) if samples.len() > most => {
                break Some(too_big(most));
            }
            Ok(None) => {}
            Ok(Some(message)) => {
                if to.inbox.send(Inbound::Message(message)).await.is_err() {
                    break None;
                }
            }
            Err(bad) => {
                break Some(Farewell {
                    reason: bad.reason,
                    text: Some(bad.message),
                });
            }
        }
    };
    drop(messages);
    let Reading {
        inbox,
        aside: _,
        seen: _,
        gone,
    } = to;
    if let Some(farewell) = farewell {
        // The session may have ended first.
        let _ = inbox.send(Inbound::Ended(farewell)).await;
    }
    drop((inbox, gone));
    let mut scrap = [0; 1024];
    while socket.read(&mut scrap).await.is_ok_and(|n| n > 0) {}
}
