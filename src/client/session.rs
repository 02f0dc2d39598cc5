//! The two halves of a conversation: one task sends, one receives.

use std::sync::Arc;

use fastwebsockets::{
    FragmentCollectorRead, Frame, OpCode, Payload, WebSocket, WebSocketError, WebSocketWrite,
};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::{ReadHalf, WriteHalf};
use tokio::sync::Mutex;

use crate::audio::pcm;
use crate::client::ClientError;
use crate::protocol::kyutai::Form;

type Socket = TokioIo<Upgraded>;
/// Shared, because the reading half must answer pings.
type Writer = Arc<Mutex<WebSocketWrite<WriteHalf<Socket>>>>;

/// Sends audio and control messages in the session's form.
#[derive(Clone)]
pub struct Sender {
    writer: Writer,
    form: Form,
}

/// Receives messages. `next` must not be dropped half-way: give it a task of its own.
pub struct Receiver {
    reader: FragmentCollectorRead<ReadHalf<Socket>>,
    writer: Writer,
}

#[derive(Serialize)]
#[serde(tag = "type")]
enum Control {
    Init,
    Marker { id: i64 },
    Flush,
    EndOfStream,
}

pub(super) fn split(socket: WebSocket<Socket>, form: Form) -> (Sender, Receiver) {
    let (mut reader, writer) = socket.split(tokio::io::split);
    reader.set_auto_close(true);
    let writer: Writer = Arc::new(Mutex::new(writer));
    let reader = FragmentCollectorRead::new(reader);
    (
        Sender {
            writer: writer.clone(),
            form,
        },
        Receiver { reader, writer },
    )
}

impl Sender {
    /// Sends mono samples at 24 kHz; the session's input rate must be that.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn audio(&self, samples: &[f32]) -> Result<(), ClientError> {
        let message = if self.form.pcm16.is_some() {
            pcm::to_i16_bytes(samples).collect()
        } else {
            message("Audio", "pcm", |out| {
                if self.form.extras {
                    let bytes: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
                    rmp::encode::write_bin(out, &bytes)?;
                } else {
                    rmp::encode::write_array_len(out, samples.len() as u32)?;
                    for sample in samples {
                        rmp::encode::write_f32(out, *sample)?;
                    }
                }
                Ok(())
            })?
        };
        self.send(Frame::binary(Payload::Owned(message))).await
    }

    /// Sends bytes of an Ogg/Opus stream.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn ogg(&self, bytes: &[u8]) -> Result<(), ClientError> {
        let message = message("OggOpus", "data", |out| {
            if self.form.extras {
                rmp::encode::write_bin(out, bytes)?;
            } else {
                rmp::encode::write_array_len(out, bytes.len() as u32)?;
                for byte in bytes {
                    rmp::encode::write_uint(out, u64::from(*byte))?;
                }
            }
            Ok(())
        })?;
        self.send(Frame::binary(Payload::Owned(message))).await
    }

    /// Asks for a fresh model state.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn init(&self) -> Result<(), ClientError> {
        self.control(&Control::Init).await
    }

    /// Asks to be told when all audio so far has been transcribed.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn marker(&self, id: i64) -> Result<(), ClientError> {
        self.control(&Control::Marker { id }).await
    }

    /// Extra: asks for the words of all audio so far at once.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn flush(&self) -> Result<(), ClientError> {
        self.control(&Control::Flush).await
    }

    /// Extra: says that no more audio follows.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn end_of_stream(&self) -> Result<(), ClientError> {
        self.control(&Control::EndOfStream).await
    }

    /// Sends something to say.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn text(&self, text: &str) -> Result<(), ClientError> {
        self.send(Frame::text(Payload::Borrowed(text.as_bytes()))).await
    }

    /// Says that there is no more to say.
    ///
    /// # Errors
    /// The connection is gone.
    pub async fn end_of_text(&self) -> Result<(), ClientError> {
        self.send(Frame::binary(Payload::Borrowed(&[0]))).await
    }

    /// Closes the connection.
    ///
    /// # Errors
    /// The connection is gone already.
    pub async fn close(&self) -> Result<(), ClientError> {
        self.send(Frame::close(1000, b"")).await
    }

    async fn control(&self, control: &Control) -> Result<(), ClientError> {
        let bad = |e: &dyn std::fmt::Display| ClientError::Message(e.to_string());
        if self.form.pcm16.is_some() || self.form.json {
            let text = serde_json::to_vec(control).map_err(|e| bad(&e))?;
            return self.send(Frame::text(Payload::Owned(text))).await;
        }
        let bytes = rmp_serde::to_vec_named(control).map_err(|e| bad(&e))?;
        self.send(Frame::binary(Payload::Owned(bytes))).await
    }

    async fn send(&self, frame: Frame<'_>) -> Result<(), ClientError> {
        Ok(self.writer.lock().await.write_frame(frame).await?)
    }
}

/// `{"type": kind, field: value}`, with the value written by `value`.
fn message(
    kind: &str,
    field: &str,
    value: impl FnOnce(&mut Vec<u8>) -> Result<(), rmp::encode::ValueWriteError>,
) -> Result<Vec<u8>, ClientError> {
    let mut out = Vec::new();
    let mut write = || {
        rmp::encode::write_map_len(&mut out, 2)?;
        for text in ["type", kind, field] {
            rmp::encode::write_str(&mut out, text)?;
        }
        Ok(())
    };
    let written: Result<(), rmp::encode::ValueWriteError> = write();
    written
        .and_then(|()| value(&mut out))
        .map_err(|e| ClientError::Message(e.to_string()))?;
    Ok(out)
}

impl Receiver {
    /// The next message; none when the server has closed the session as it should (1000).
    ///
    /// # Errors
    /// The server closed for another reason, the connection was lost, or a message made no sense.
    pub async fn next<M: DeserializeOwned>(&mut self) -> Result<Option<M>, ClientError> {
        loop {
            let writer = self.writer.clone();
            let mut answer = move |frame| {
                let writer = writer.clone();
                async move { writer.lock().await.write_frame(frame).await }
            };
            let frame = self.reader.read_frame::<_, WebSocketError>(&mut answer).await?;
            let bad = |e: &dyn std::fmt::Display| ClientError::Message(e.to_string());
            match frame.opcode {
                OpCode::Binary => {
                    return rmp_serde::from_slice(&frame.payload)
                        .map(Some)
                        .map_err(|e| bad(&e));
                }
                OpCode::Text => {
                    return serde_json::from_slice(&frame.payload)
                        .map(Some)
                        .map_err(|e| bad(&e));
                }
                OpCode::Close => return closed(&frame.payload),
                OpCode::Continuation | OpCode::Ping | OpCode::Pong => {}
            }
        }
    }
}

fn closed<M>(payload: &[u8]) -> Result<Option<M>, ClientError> {
    let Some((code, reason)) = payload.split_first_chunk::<2>() else {
        return Ok(None);
    };
    match u16::from_be_bytes(*code) {
        1000 => Ok(None),
        1013 => Err(ClientError::Full),
        code @ (4401 | 4403) => Err(ClientError::Unauthorized(code)),
        code => Err(ClientError::Closed {
            code,
            reason: String::from_utf8_lossy(reason).into_owned(),
        }),
    }
}
