//! The session's end of a connection: input in, and a few things to say besides the stream's output. A socket or a posted
//! file is at the other end; the session cannot tell.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::config::Limits;
use crate::pipeline::bounds::Bounds;
use crate::pipeline::links;
use crate::pipeline::outbox::{OutboxRx, OutboxTx, STEP_EVENTS};
use crate::stream::end::{End, EndReason};
use crate::stream::frame::FRAME_DURATION;
use crate::stream::input::Input;
use crate::stream::output::Output;
use crate::stream::voice::Speaker;

/// What comes from the client's side.
#[derive(Debug)]
pub enum Inbound {
    Input(Input),
    /// Nothing more comes, and why.
    Ended(End),
}

/// Messages that bypass the outbox: queue position, draining, renewal, pongs. Dropped when the client is too slow.
#[derive(Debug)]
pub enum SideMsg {
    Output(Output),
    Pong(bytes::Bytes),
    /// The dialect's reader left something for its writer to say.
    Reply,
    /// The client's close frame arrived, with this code: it is answered with the same.
    Closing(Option<u16>),
}

/// When the peer last gave a sign of life.
#[derive(Debug)]
pub struct LastSeen {
    base: Instant,
    millis: AtomicU64,
}

impl Default for LastSeen {
    fn default() -> Self {
        Self {
            base: Instant::now(),
            millis: AtomicU64::new(0),
        }
    }
}

impl LastSeen {
    /// Sets it to now.
    pub fn touch(&self) {
        let millis = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    /// Returns when it was, to the millisecond.
    #[must_use]
    pub fn at(&self) -> Instant {
        self.base + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// Tells whether the peer has closed its end, even behind bytes that were not read yet.
pub type HungUp = Box<dyn Fn() -> bool + Send>;

/// What a session holds of its connection.
pub struct Connection {
    pub inbox: mpsc::Receiver<Inbound>,
    /// Fires when the other end of `inbox` is gone, while nobody takes from it.
    pub gone: oneshot::Receiver<()>,
    pub side: mpsc::Sender<SideMsg>,
    /// Fires when the outbox is over, and why.
    pub over: oneshot::Receiver<End>,
    /// Ends the connection.
    pub close: oneshot::Sender<End>,
    pub seen: Arc<LastSeen>,
    /// Asked while the session waits for a row, when nothing of the connection is read.
    pub hung_up: Option<HungUp>,
    /// Of a stream that speaks: how it begins to.
    pub speaker: Option<Speaker>,
}

impl Connection {
    /// Returns why nothing more comes from the client: behind what it sent before is what its reader said at the end.
    pub fn last_word(&mut self) -> End {
        loop {
            match self.inbox.try_recv() {
                Ok(Inbound::Input(_)) => {}
                Ok(Inbound::Ended(end)) => return end,
                Err(_) => return EndReason::PeerGone.into(),
            }
        }
    }

    /// Tells the client something. Its dialect leaves out what it does not know; a client too slow to take it does without.
    pub fn say(&self, output: Output) {
        let _ = self.side.try_send(SideMsg::Output(output));
    }
}

/// The ends of a connection that its reader holds.
pub struct ReadHalf {
    pub inbox: mpsc::Sender<Inbound>,
    pub side: mpsc::Sender<SideMsg>,
    pub seen: Arc<LastSeen>,
    /// Dropped with the rest.
    pub gone: oneshot::Sender<()>,
}

/// The ends of a connection that its writer holds.
pub struct WriteHalf {
    pub outbox: OutboxRx,
    pub side: mpsc::Receiver<SideMsg>,
    pub over: oneshot::Sender<End>,
    pub close: oneshot::Receiver<End>,
}

/// Makes a connection with its ends: for the session, for the output stage, for the reader and for the writer of the client.
/// `speaker` is that of a stream that speaks.
#[must_use]
pub fn connect(
    limits: &Limits,
    seen: Arc<LastSeen>,
    speaker: Option<Speaker>,
) -> (Connection, OutboxTx, ReadHalf, WriteHalf) {
    let (inbox_tx, inbox) = links::inbox(limits.inbox_messages);
    let (side, side_rx) = links::side();
    let bounds = Bounds::new(1, limits.frames_ahead(FRAME_DURATION));
    let events = match &speaker {
        // A frame needs one credit, and the step that makes it must find those of all its events.
        Some(_) => limits.speech_frames_ahead(FRAME_DURATION) + STEP_EVENTS as usize,
        None => limits.outbox_messages,
    };
    let (outbox, outbox_rx) = links::outbox(events, bounds.answers());
    let (gone_tx, gone) = oneshot::channel();
    let (over_tx, over) = oneshot::channel();
    let (close, close_rx) = oneshot::channel();
    let reader = ReadHalf {
        inbox: inbox_tx,
        side: side.clone(),
        seen: Arc::clone(&seen),
        gone: gone_tx,
    };
    let writer = WriteHalf {
        outbox: outbox_rx,
        side: side_rx,
        over: over_tx,
        close: close_rx,
    };
    let connection = Connection {
        inbox,
        gone,
        side,
        over,
        close,
        seen,
        hung_up: None,
        speaker,
    };
    (connection, outbox, reader, writer)
}
