//! The reader: the one task that reads a client's socket.
//!
//! It never selects over a read and never times one out: a read that is dropped half way loses bytes. It ends with the
//! stream or the connection. While its session takes nothing it does not read, and TCP slows the client down.

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, Role, WebSocketError, WebSocketRead, after_handshake_split};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::protocol::dialect::{Decoder, FrameKind};
use crate::session::connection::{Inbound, ReadHalf, SideMsg};
use crate::stream::end::{End, EndReason};
use crate::stream::frame::SAMPLE_RATE;
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
            Err(EndReason::TooBig) => break Some(too_big(most)),
            Err(reason) => break Some(reason.into()),
        };
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

fn too_big(most: usize) -> End {
    let seconds = most as f64 / f64::from(4 * SAMPLE_RATE);
    let text = format!("a message may have {most} bytes and {seconds:.1} s of audio: send shorter ones");
    End::because(EndReason::TooBig, text)
}

/// Puts messages together from frames. The library's own collector has no limit over all fragments of a message.
struct Messages<S> {
    frames: WebSocketRead<S>,
    most: usize,
    /// The first fragments of a message in several frames.
    partial: Option<(FrameKind, BytesMut)>,
}

impl<S: AsyncRead + Unpin> Messages<S> {
    fn new(mut frames: WebSocketRead<S>, most: usize) -> Self {
        // The writer sends pongs and close frames.
        frames.set_auto_pong(false);
        frames.set_auto_close(false);
        frames.set_max_message_size(most + 1);
        Self {
            frames,
            most,
            partial: None,
        }
    }

    async fn next(&mut self, to: &ReadHalf) -> Result<(FrameKind, Bytes), EndReason> {
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
                    let _ = to.side.try_send(SideMsg::Pong(data));
                }
                OpCode::Text | OpCode::Binary => {
                    let kind = match frame.opcode {
                        OpCode::Text => FrameKind::Text,
                        _ => FrameKind::Binary,
                    };
                    if self.partial.is_some() {
                        return Err(EndReason::Protocol);
                    }
                    if frame.fin {
                        return Ok((kind, Bytes::copy_from_slice(&frame.payload)));
                    }
                    self.partial = Some((kind, BytesMut::from(&*frame.payload)));
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
                        && let Some((kind, data)) = self.partial.take()
                    {
                        return Ok((kind, data.freeze()));
                    }
                }
            }
        }
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
