//! The writer: the one task that writes to a client's socket. It pings, and it gives up on a client that does not read.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocketError, WebSocketWrite, after_handshake_split};
use tokio::io::{AsyncWrite, BufWriter};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::Limits;
use crate::pipeline::words::outbox::OutboxRx;
use crate::protocol::server::ServerMsg;
use crate::protocol::{Form, close};
use crate::session::wire::{Aside, Farewell, Writing};
use crate::stream::end::EndReason;

/// Bytes written at once; a second of classic messages.
const BUFFER: usize = 2048;
/// Messages written before the buffer is flushed whatever comes.
const BURST: usize = 32;

/// Writes what the session says until it says farewell.
pub(super) async fn write<W: AsyncWrite + Unpin>(socket: W, form: Form, limits: Arc<Limits>, from: Writing) {
    let (_, frames) = after_handshake_split(
        tokio::io::empty(),
        BufWriter::with_capacity(BUFFER, socket),
        Role::Server,
    );
    let Writing {
        outbox,
        mut aside,
        over,
        mut close,
    } = from;
    let mut socket = Socket {
        frames,
        form,
        deadline: limits.write_timeout,
        encoded: Vec::new(),
        closing: None,
    };
    let mut source = Source {
        outbox,
        over: Some(over),
    };
    let mut ping_at = Instant::now() + limits.ping;
    let farewell = loop {
        let wrote = tokio::select! {
            biased;
            farewell = &mut close => break farewell.unwrap_or_else(|_| EndReason::EngineFailed.into()),
            Some(aside) = aside.recv() => socket.aside(aside).await,
            message = source.next() => socket.burst(message, &mut source).await,
            () = sleep_until(ping_at) => socket.ping().await,
        };
        match wrote {
            Ok(()) => ping_at = Instant::now() + limits.ping,
            Err(reason) => {
                source.end(reason);
                // Nothing can be said to this client any more.
                let _ = close.await;
                return;
            }
        }
    };
    // What the client asked before it broke a rule, or closed, is answered; if it still reads.
    while let Ok(aside) = aside.try_recv() {
        if socket.aside(aside).await.is_err() {
            return;
        }
    }
    socket.farewell(&farewell).await;
}

/// The outbox, and the news that it is over.
struct Source {
    outbox: OutboxRx,
    over: Option<oneshot::Sender<EndReason>>,
}

impl Source {
    /// The next message. Safe to cancel; never ends, for the farewell is the session's to say.
    async fn next(&mut self) -> ServerMsg {
        if self.over.is_some() {
            match self.outbox.recv().await {
                Ok(message) => return message,
                Err(reason) => self.end(reason),
            }
        }
        std::future::pending().await
    }

    fn end(&mut self, reason: EndReason) {
        if let Some(over) = self.over.take() {
            // The session may have ended first.
            let _ = over.send(reason);
        }
    }
}

struct Socket<W> {
    frames: WebSocketWrite<BufWriter<W>>,
    form: Form,
    deadline: Duration,
    encoded: Vec<u8>,
    /// The code of the client's own close frame.
    closing: Option<u16>,
}

impl<W: AsyncWrite + Unpin> Socket<W> {
    /// Writes `first` and what is there besides in one go.
    async fn burst(&mut self, first: ServerMsg, source: &mut Source) -> Result<(), EndReason> {
        let deadline = self.deadline;
        in_time(deadline, async {
            self.put(&first).await?;
            for _ in 1..BURST {
                let Some(next) = source.outbox.try_recv() else {
                    break;
                };
                self.put(&next).await?;
            }
            self.frames.flush().await
        })
        .await
    }

    async fn aside(&mut self, aside: Aside) -> Result<(), EndReason> {
        match aside {
            Aside::Message(message) => self.message(&message).await,
            Aside::Pong(data) => self.pong(&data).await,
            Aside::Closing(code) => {
                self.closing = code;
                Ok(())
            }
        }
    }

    async fn message(&mut self, message: &ServerMsg) -> Result<(), EndReason> {
        let deadline = self.deadline;
        in_time(deadline, async {
            self.put(message).await?;
            self.frames.flush().await
        })
        .await
    }

    async fn put(&mut self, message: &ServerMsg) -> Result<(), WebSocketError> {
        if message.is_extra() && !self.form.extras {
            return Ok(());
        }
        message.encode(self.form, &mut self.encoded);
        let opcode = if self.form.json {
            OpCode::Text
        } else {
            OpCode::Binary
        };
        // A copy of some tens of bytes: the library ties a borrowed payload to its writer's lifetime.
        let payload = Payload::Owned(self.encoded.clone());
        self.frames
            .write_frame(Frame::new(true, opcode, None, payload))
            .await
    }

    async fn pong(&mut self, data: &Bytes) -> Result<(), EndReason> {
        self.control(Frame::pong(Payload::Owned(data.to_vec()))).await
    }

    async fn ping(&mut self) -> Result<(), EndReason> {
        self.control(Frame::new(true, OpCode::Ping, None, Payload::Owned(Vec::new())))
            .await
    }

    async fn farewell(&mut self, farewell: &Farewell) {
        if farewell.reason == EndReason::PeerGone {
            return;
        }
        // RFC 6455, section 5.5.1: a close frame is answered with its own code.
        let code = match (farewell.reason, self.closing) {
            (EndReason::ClientClosed, Some(code)) => code,
            (reason, _) => close::code(reason),
        };
        let mut end = farewell.text().len().min(123);
        while !farewell.text().is_char_boundary(end) {
            end -= 1;
        }
        // The client may be gone; there is no one else to tell.
        let _ = self
            .control(Frame::close(code, &farewell.text().as_bytes()[..end]))
            .await;
    }

    async fn control(&mut self, frame: Frame<'static>) -> Result<(), EndReason> {
        let deadline = self.deadline;
        in_time(deadline, async {
            self.frames.write_frame(frame).await?;
            self.frames.flush().await
        })
        .await
    }
}

async fn in_time(
    deadline: Duration,
    writing: impl Future<Output = Result<(), WebSocketError>>,
) -> Result<(), EndReason> {
    match timeout(deadline, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(EndReason::PeerGone),
        Err(_) => Err(EndReason::SlowReader),
    }
}
