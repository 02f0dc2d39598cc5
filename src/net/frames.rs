//! Messages out of frames, by the rules of RFC 6455. The library reads frames and checks what one header alone can tell
//! (reserved bits and opcodes, fragmented control frames); what else the RFC demands of a server is checked here.

use bytes::{Bytes, BytesMut};
use fastwebsockets::{Frame, OpCode, WebSocketError, WebSocketRead};
use tokio::io::AsyncRead;
use tokio::task::coop::consume_budget;

use crate::protocol::dialect::FrameKind;
use crate::session::connection::{ReadHalf, SideMsg};
use crate::stream::end::{End, EndReason};
use crate::stream::frame::SAMPLE_RATE;

/// Bytes of a control frame's payload (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;
/// The longest frame header: two bytes, the length, the mask.
const MAX_HEADER: usize = 14;

/// Puts messages together from frames. The library's own collector has no limit over all fragments of a message.
pub(super) struct Messages<S> {
    frames: WebSocketRead<S>,
    assembly: Assembly,
}

struct Assembly {
    most: usize,
    partial: Option<Partial>,
}

/// The first fragments of a message in several frames.
struct Partial {
    data: BytesMut,
    /// For text: how much of `data` is known to be valid UTF-8. A character may be cut in two by the next fragment.
    valid: Option<usize>,
}

impl<S: AsyncRead + Unpin> Messages<S> {
    /// Messages of up to `most` bytes.
    pub(super) fn new(mut frames: WebSocketRead<S>, most: usize) -> Self {
        // The writer sends pongs and close frames.
        frames.set_auto_pong(false);
        frames.set_auto_close(false);
        frames.set_max_message_size(most + 1);
        let assembly = Assembly { most, partial: None };
        Self { frames, assembly }
    }

    /// Returns the next message; text is valid UTF-8. Pings are answered on the way.
    ///
    /// # Errors
    /// Nothing more comes: the client has closed or gone, or broke the rules.
    pub(super) async fn next(&mut self, to: &ReadHalf) -> Result<(FrameKind, Bytes), End> {
        loop {
            // One read brings a thousand frames of a flood, and none of them waits for anything. Without this the thread would
            // serve nobody else for so long that everybody on it hears it.
            consume_budget().await;
            let mut frame = match self.frames.read_frame(&mut nothing_to_send).await {
                Ok(frame) => frame,
                Err(error) => return Err(end_of(&error, self.assembly.most)),
            };
            to.seen.touch();
            if !is_masked(&mut frame) {
                return Err(broken(
                    "frames of a client must be masked (RFC 6455, section 5.1)",
                ));
            }
            let is_control = matches!(frame.opcode, OpCode::Close | OpCode::Ping | OpCode::Pong);
            if is_control && frame.payload.len() > MAX_CONTROL {
                return Err(broken("a control frame may hold 125 bytes"));
            }
            match frame.opcode {
                OpCode::Close => {
                    let code = close_code(&frame.payload)?;
                    // The writer may have ended first.
                    let _ = to.side.send(SideMsg::Closing(code)).await;
                    return Err(EndReason::ClientClosed.into());
                }
                OpCode::Pong => {}
                OpCode::Ping => {
                    let data = Bytes::copy_from_slice(&frame.payload);
                    // A client that pings faster than it reads is read more slowly.
                    let _ = to.side.send(SideMsg::Pong(data)).await;
                }
                OpCode::Text | OpCode::Binary | OpCode::Continuation => {
                    if let Some(message) = self.assembly.take(&frame)? {
                        return Ok(message);
                    }
                }
            }
        }
    }
}

impl Assembly {
    /// Takes a frame of a message. Returns the message once it is whole.
    fn take(&mut self, frame: &Frame<'_>) -> Result<Option<(FrameKind, Bytes)>, End> {
        let mut partial = match (frame.opcode, self.partial.take()) {
            (OpCode::Continuation, Some(partial)) => partial,
            (OpCode::Continuation, None) => return Err(broken("a fragment continues no message")),
            (_, Some(_)) => return Err(broken("a message begins before the last one has ended")),
            (opcode, None) => Partial {
                data: BytesMut::with_capacity(frame.payload.len()),
                valid: (opcode == OpCode::Text).then_some(0),
            },
        };
        if partial.data.len() + frame.payload.len() > self.most {
            return Err(too_big(self.most));
        }
        partial.data.extend_from_slice(&frame.payload);
        partial.check_text(frame.fin)?;
        if !frame.fin {
            self.partial = Some(partial);
            return Ok(None);
        }
        let data = partial.data.freeze();
        Ok(Some(match partial.valid {
            Some(_) => (FrameKind::Text, data),
            None => (FrameKind::Binary, data),
        }))
    }
}

impl Partial {
    /// Refuses text as soon as it can be no UTF-8 any more (RFC 6455, section 8.1).
    fn check_text(&mut self, fin: bool) -> Result<(), End> {
        let Some(valid) = &mut self.valid else {
            return Ok(());
        };
        let unchecked = self.data.get(*valid..).unwrap_or_default();
        match std::str::from_utf8(unchecked) {
            Ok(_) => *valid = self.data.len(),
            // The end of a character may come with the next fragment.
            Err(error) if error.error_len().is_none() && !fin => *valid += error.valid_up_to(),
            Err(_) => return Err(not_utf8("a text message")),
        }
        Ok(())
    }
}

/// Returns the code of a close frame, if it has one.
fn close_code(payload: &[u8]) -> Result<Option<u16>, End> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return match payload {
            [] => Ok(None),
            _ => Err(broken(
                "a close frame holds nothing, or a code of two bytes and a reason",
            )),
        };
    };
    let code = u16::from_be_bytes(*code);
    // RFC 6455, section 7.4, and what was registered with IANA since.
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(broken(&format!("close code {code} may not be sent")));
    }
    match std::str::from_utf8(reason) {
        Ok(_) => Ok(Some(code)),
        Err(_) => Err(not_utf8("the reason of a close frame")),
    }
}

/// Whether the client masked the frame. The library unmasks in place; that there was a mask shows only in the header that it
/// would write.
fn is_masked(frame: &mut Frame<'_>) -> bool {
    let mut header = [0; MAX_HEADER];
    frame.fmt_head(&mut header);
    header[1] & 0x80 != 0
}

/// Returns the end of a stream whose frame the library refused.
fn end_of(error: &WebSocketError, most: usize) -> End {
    match error {
        WebSocketError::FrameTooLarge => too_big(most),
        WebSocketError::UnexpectedEOF | WebSocketError::IoError(_) | WebSocketError::ConnectionClosed => {
            EndReason::PeerGone.into()
        }
        WebSocketError::InvalidUTF8 => not_utf8("a text message"),
        WebSocketError::ReservedBitsNotZero => {
            broken("a frame has reserved bits set, and no extension was agreed to")
        }
        WebSocketError::ControlFrameFragmented => broken("a control frame may not be fragmented"),
        WebSocketError::PingFrameTooLarge => broken("a control frame may hold 125 bytes"),
        WebSocketError::InvalidValue => broken("a frame has a reserved opcode"),
        _ => EndReason::Protocol.into(),
    }
}

fn broken(text: &str) -> End {
    End::because(EndReason::Protocol, text)
}

fn not_utf8(what: &str) -> End {
    End::because(EndReason::BadMessage, format!("{what} is not UTF-8"))
}

/// Returns the end of a stream whose messages are longer than `most` bytes.
pub(super) fn too_big(most: usize) -> End {
    let seconds = most as f64 / f64::from(4 * SAMPLE_RATE);
    let text = format!("a message may have {most} bytes and {seconds:.1} s of audio: send shorter ones");
    End::because(EndReason::TooBig, text)
}

async fn nothing_to_send(_: Frame<'_>) -> Result<(), WebSocketError> {
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use fastwebsockets::{Role, after_handshake_split};
    use tokio::task::yield_now;

    use super::*;
    use crate::config::Limits;
    use crate::session::connection;

    #[tokio::test]
    async fn a_flood_of_frames_without_content_lets_others_go_on() {
        // The beginning of a message, and a hundred thousand parts of it that are empty; each with its mask.
        let mut flood = vec![0x02, 0x80, 0, 0, 0, 0];
        flood.extend([0x00, 0x80, 0, 0, 0, 0].repeat(100_000));
        let (_connection, _outbox, to, _writer) =
            connection::connect(&Limits::default(), Arc::default(), None);
        let reading = tokio::spawn(async move {
            let (frames, _) = after_handshake_split(&*flood, tokio::io::sink(), Role::Server);
            Messages::new(frames, 4096).next(&to).await.map(drop)
        });
        yield_now().await;
        assert!(!reading.is_finished(), "all of it in one go");
        let end = reading.await.unwrap().unwrap_err();
        assert_eq!(end.reason, EndReason::PeerGone);
    }
}
