//! The writer: the one task that writes to a client's socket. It pings, and it gives up on a client that does not read.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocketError, WebSocketWrite, after_handshake_split};
use tokio::io::{AsyncWrite, BufWriter};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until, timeout};

use crate::config::Limits;
use crate::pipeline::outbox::OutboxRx;
use crate::protocol::dialect::{Encoder, FrameKind};
use crate::session::connection::{Inbound, SideMsg, WriteHalf};
use crate::stream::end::{End, EndReason};
use crate::stream::output::Output;

/// Bytes per write; about a second of classic messages.
const BUFFER: usize = 2048;
/// Most messages before a flush.
const BURST: usize = 32;

/// Writes what the session says until it ends, and `refusal` before all. What the encoder itself wants of the stream goes to
/// `asks`, behind what the client sent.
pub(super) async fn write<W: AsyncWrite + Unpin>(
    socket: W,
    encoder: Box<dyn Encoder>,
    limits: Arc<Limits>,
    from: WriteHalf,
    asks: mpsc::WeakSender<Inbound>,
    refusal: Option<String>,
) {
    let (_, frames) = after_handshake_split(
        tokio::io::empty(),
        BufWriter::with_capacity(BUFFER, socket),
        Role::Server,
    );
    let WriteHalf {
        outbox,
        mut side,
        over,
        mut close,
    } = from;
    let mut socket = Socket {
        frames,
        encoder,
        deadline: limits.write_timeout,
        encoded: Vec::new(),
        closing: None,
        asks,
    };
    let mut source = Source {
        outbox,
        over: Some(over),
    };
    let told = refusal.is_some();
    if let Some(why) = refusal {
        // If this cannot be written, neither can the close frame; the session hears of that.
        let _ = socket.refuse(&why).await;
    } else {
        // The same.
        let _ = socket.reply().await;
    }
    let mut ping_at = Instant::now() + limits.ping;
    let end = loop {
        let due = socket.encoder.deadline();
        let wrote = tokio::select! {
            biased;
            end = &mut close => break end.unwrap_or_else(|_| EndReason::EngineFailed.into()),
            Some(message) = side.recv() => socket.side(message).await,
            // However much is written: a client that only listens shows by its answers that it is there.
            () = sleep_until(ping_at) => {
                ping_at = Instant::now() + limits.ping;
                socket.ping().await
            }
            output = source.next() => socket.burst(output, &mut source).await,
            () = reached(due), if due.is_some() => socket.reply().await,
        };
        if let Err(reason) = wrote {
            source.end(reason.into());
            // Nothing more can be written to this client.
            let _ = close.await;
            return;
        }
    };
    // What the client asked before it broke a rule, or closed, is answered; if it still reads.
    while let Ok(message) = side.try_recv() {
        if socket.side(message).await.is_err() {
            return;
        }
    }
    if !told && end.reason != EndReason::PeerGone && socket.farewell(&end).await.is_err() {
        return;
    }
    socket.close(&end).await;
}

/// The outbox, and the channel that tells the session when it is over.
struct Source {
    outbox: OutboxRx,
    over: Option<oneshot::Sender<End>>,
}

impl Source {
    /// Returns the next event. Safe to cancel; never ends, for the end is the session's to say.
    async fn next(&mut self) -> Output {
        if self.over.is_some() {
            match self.outbox.recv().await {
                Ok(output) => return output,
                Err(end) => self.end(end),
            }
        }
        std::future::pending().await
    }

    fn end(&mut self, end: End) {
        if let Some(over) = self.over.take() {
            // The session may have ended first.
            let _ = over.send(end);
        }
    }
}

struct Socket<W> {
    frames: WebSocketWrite<BufWriter<W>>,
    encoder: Box<dyn Encoder>,
    deadline: Duration,
    encoded: Vec<u8>,
    /// The code of the client's own close frame.
    closing: Option<u16>,
    /// Where the encoder's own requests to the stream go.
    asks: mpsc::WeakSender<Inbound>,
}

impl<W: AsyncWrite + Unpin> Socket<W> {
    /// Writes `first` and whatever else is in the outbox with one flush.
    async fn burst(&mut self, first: Output, source: &mut Source) -> Result<(), EndReason> {
        let deadline = self.deadline;
        in_time(deadline, async {
            self.put(first).await?;
            for _ in 1..BURST {
                let Some(next) = source.outbox.try_recv() else {
                    break;
                };
                self.put(next).await?;
            }
            self.frames.flush().await
        })
        .await
    }

    async fn side(&mut self, message: SideMsg) -> Result<(), EndReason> {
        match message {
            SideMsg::Output(output) => self.output(output).await,
            SideMsg::Pong(data) => self.pong(&data).await,
            SideMsg::Reply => self.reply().await,
            SideMsg::Closing(code) => {
                self.closing = code;
                Ok(())
            }
        }
    }

    async fn output(&mut self, output: Output) -> Result<(), EndReason> {
        let deadline = self.deadline;
        in_time(deadline, async {
            self.put(output).await?;
            self.frames.flush().await
        })
        .await
    }

    /// Writes what the encoder says by itself.
    async fn reply(&mut self) -> Result<(), EndReason> {
        let deadline = self.deadline;
        in_time(deadline, async {
            self.encoder.tick(Instant::now().into_std());
            self.rest().await?;
            self.frames.flush().await
        })
        .await
    }

    async fn refuse(&mut self, why: &str) -> Result<(), EndReason> {
        let deadline = self.deadline;
        in_time(deadline, async {
            let kind = self.encoder.refuse(why, &mut self.encoded);
            self.send(kind).await?;
            self.frames.flush().await
        })
        .await
    }

    async fn put(&mut self, output: Output) -> Result<(), WebSocketError> {
        self.encoder.tick(Instant::now().into_std());
        let kind = self.encoder.encode(output, &mut self.encoded);
        self.send(kind).await?;
        self.rest().await
    }

    async fn rest(&mut self) -> Result<(), WebSocketError> {
        while let Some(kind) = self.encoder.more(&mut self.encoded) {
            self.send(Some(kind)).await?;
        }
        // While the inbox is full the encoder keeps its request.
        if let Some(inbox) = self.asks.upgrade()
            && let Ok(place) = inbox.try_reserve()
            && let Some(input) = self.encoder.ask()
        {
            place.send(Inbound::Input(input));
        }
        Ok(())
    }

    async fn send(&mut self, kind: Option<FrameKind>) -> Result<(), WebSocketError> {
        let opcode = match kind {
            None => return Ok(()),
            Some(FrameKind::Text) => OpCode::Text,
            Some(FrameKind::Binary) => OpCode::Binary,
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

    async fn farewell(&mut self, end: &End) -> Result<(), EndReason> {
        let deadline = self.deadline;
        in_time(deadline, async {
            let kind = self.encoder.farewell(end, &mut self.encoded);
            self.send(kind).await
        })
        .await
    }

    async fn close(&mut self, end: &End) {
        if end.reason == EndReason::PeerGone {
            return;
        }
        let (code, text) = self.encoder.close(end);
        // RFC 6455, section 5.5.1: a close frame is answered with its own code.
        let code = match (end.reason, self.closing) {
            (EndReason::ClientClosed, Some(code)) => code,
            _ => code,
        };
        let frame = Frame::close(code, text.as_bytes());
        // The client may be gone; there is no one else to tell.
        let _ = self.control(frame).await;
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

async fn reached(due: Option<std::time::Instant>) {
    match due {
        Some(due) => sleep_until(due.into()).await,
        None => std::future::pending().await,
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
