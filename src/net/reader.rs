//! The reader: the one task that reads a client's socket.
//!
//! It never selects over a read and never times one out: a read that is dropped half way loses bytes. It ends when the
//! stream does, or with the connection. When its session takes nothing, it does not read, and TCP slows the client down.

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::Form;
use crate::protocol::client::{ClientMsg, Sound};
use crate::session::wire::{Aside, Farewell, Inbound, Reading};
use crate::stream::end::EndReason;
use crate::stream::frame::SAMPLE_RATE;

/// Reads messages until the client or the session ends, then swallows what still comes, so that the farewell is not lost
/// to a connection reset.
pub(super) async fn read(mut socket: impl AsyncRead + Unpin, form: Form, most: usize, to: Reading) {
    let (frames, _) = after_handshake_split(&mut socket, tokio::io::sink(), Role::Server);
    let mut messages = Messages::new(frames, most);
    let farewell = loop {
        let message = match messages.next(&to).await {
            Ok(Message::Binary(data)) => ClientMsg::from_binary(data, form).map(Some),
            Ok(Message::Text(data)) => ClientMsg::from_text(&data, form),
            Err(EndReason::TooBig) => break Some(too_big(most)),
            Err(reason) => break Some(reason.into()),
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

fn too_big(most: usize) -> Farewell {
    let seconds = most as f64 / f64::from(4 * SAMPLE_RATE);
    let text = format!("a message may have {most} bytes and {seconds:.1} s of audio: send shorter ones");
    Farewell {
        reason: EndReason::TooBig,
        text: Some(text),
    }
}

enum Message {
    Binary(Bytes),
    Text(Bytes),
}

/// Puts messages together from frames. The library's own collector has no limit over all fragments of a message.
struct Messages<S> {
    frames: WebSocketRead<S>,
    most: usize,
    /// What has come of a message in several frames, and whether it is text.
    partial: Option<(bool, BytesMut)>,
}

impl<S: AsyncRead + Unpin> Messages<S> {
    fn new(mut frames: WebSocketRead<S>, most: usize) -> Self {
        // Pongs and closes are the writer's to send.
        frames.set_auto_pong(false);
        frames.set_auto_close(false);
        frames.set_max_message_size(most + 1);
        Self {
            frames,
            most,
            partial: None,
        }
    }

    async fn next(&mut self, to: &Reading) -> Result<Message, EndReason> {
        loop {
            let frame = self
                .frames
                .read_frame(&mut nothing_to_send)
                .await
                .map_err(|e| reason_of(&e))?;
            to.seen.touch();
            match frame.opcode {
                OpCode::Close => return Err(EndReason::ClientClosed),
                OpCode::Pong => {}
                OpCode::Ping => {
                    let data = Bytes::copy_from_slice(&frame.payload);
                    // A client that pings faster than it reads gets fewer answers.
                    let _ = to.aside.try_send(Aside::Pong(data));
                }
                OpCode::Text | OpCode::Binary => {
                    let text = frame.opcode == OpCode::Text;
                    if self.partial.is_some() {
                        return Err(EndReason::Protocol);
                    }
                    if frame.fin {
                        return Ok(message(text, Bytes::copy_from_slice(&frame.payload)));
                    }
                    self.partial = Some((text, BytesMut::from(&*frame.payload)));
                }
                OpCode::Continuation => {
                    let Some((_, data)) = &mut self.partial else {
                        return Err(EndReason::Protocol);
                    };
                    if data.len() + frame.payload.len() > self.most {
                        return Err(EndReason::TooBig);
                    }
                    data.extend_from_slice(&frame.payload);
                    if frame.fin
                        && let Some((text, data)) = self.partial.take()
                    {
                        return Ok(message(text, data.freeze()));
                    }
                }
            }
        }
    }
}

fn message(text: bool, data: Bytes) -> Message {
    if text {
        Message::Text(data)
    } else {
        Message::Binary(data)
    }
}

async fn nothing_to_send(_: Frame<'_>) -> Result<(), WebSocketError> {
    Ok(())
}

fn reason_of(error: &WebSocketError) -> EndReason {
    match error {
        WebSocketError::FrameTooLarge => EndReason::TooBig,
        WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) | WebSocketError::ConnectionClosed => {
            EndReason::PeerGone
        }
        WebSocketError::InvalidUTF8 => EndReason::BadMessage,
        _ => EndReason::Protocol,
    }
}
