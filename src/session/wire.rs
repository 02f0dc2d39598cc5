//! The session's end of a connection: messages in, and a few things to say besides words. A socket or a posted file is at
//! the other end; the session cannot tell.

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use tokio::sync::{mpsc, oneshot};

use crate::config::Limits;
use crate::pipeline::links;
use crate::pipeline::words::outbox::{OutboxRx, OutboxTx};
use crate::protocol::client::ClientMsg;
use crate::protocol::server::ServerMsg;
use crate::protocol::{Form, close};
use crate::stream::end::EndReason;

/// What comes from the client's side.
#[derive(Debug)]
pub enum Inbound {
    Message(ClientMsg),
    /// Nothing more comes, and why; the text tells the client what it did.
    Ended(Farewell),
}

/// The last word to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Farewell {
    pub reason: EndReason,
    /// More exact than the table, where there is more to say.
    pub text: Option<String>,
}

impl From<EndReason> for Farewell {
    fn from(reason: EndReason) -> Self {
        Self { reason, text: None }
    }
}

impl Farewell {
    /// What the close frame says.
    #[must_use]
    pub fn text(&self) -> &str {
        self.text.as_deref().unwrap_or(close::text(self.reason))
    }
}

/// Said besides words, by the session or for the WebSocket's sake.
#[derive(Debug)]
pub enum Aside {
    Message(ServerMsg),
    Pong(bytes::Bytes),
    /// The client's close frame has come, with this code: the farewell answers with the same.
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
    /// Now.
    pub fn touch(&self) {
        let millis = u64::try_from(self.base.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.millis.store(millis, Ordering::Relaxed);
    }

    #[must_use]
    pub fn at(&self) -> Instant {
        self.base + Duration::from_millis(self.millis.load(Ordering::Relaxed))
    }
}

/// What a session holds of its connection.
pub struct Wire {
    pub form: Form,
    pub inbox: mpsc::Receiver<Inbound>,
    /// Fires when the other end of `inbox` is gone, while nobody takes from it.
    pub gone: oneshot::Receiver<()>,
    pub aside: mpsc::Sender<Aside>,
    /// Fires when the outbox is over, and why.
    pub over: oneshot::Receiver<EndReason>,
    /// Ends the connection.
    pub close: oneshot::Sender<Farewell>,
    pub seen: Arc<LastSeen>,
    /// The socket once more, to see that the peer has hung up while nobody reads what it sent before.
    pub socket: Option<OwnedFd>,
}

impl Wire {
    /// True when the peer has closed its end, even behind bytes that were not read yet.
    #[must_use]
    pub fn hung_up(&self) -> bool {
        let Some(socket) = &self.socket else { return false };
        let mut poll = [PollFd::new(socket, PollFlags::RDHUP)];
        let now = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        rustix::event::poll(&mut poll, Some(&now)).is_ok_and(|ready| ready > 0)
    }

    /// Why nothing more comes from the client: behind what it sent before it is what its reader said at the end.
    pub fn last_word(&mut self) -> Farewell {
        loop {
            match self.inbox.try_recv() {
                Ok(Inbound::Message(_)) => {}
                Ok(Inbound::Ended(farewell)) => return farewell,
                Err(_) => return EndReason::PeerGone.into(),
            }
        }
    }

    /// Only clients who know the message get it: the writer sees to that. One too slow to take it does without.
    pub fn say(&self, message: ServerMsg) {
        let _ = self.aside.try_send(Aside::Message(message));
    }
}

/// The connection's ends of the same.
pub struct Reading {
    pub inbox: mpsc::Sender<Inbound>,
    pub aside: mpsc::Sender<Aside>,
    pub seen: Arc<LastSeen>,
    /// Dropped with the rest.
    pub gone: oneshot::Sender<()>,
}

pub struct Writing {
    pub outbox: OutboxRx,
    pub aside: mpsc::Receiver<Aside>,
    pub over: oneshot::Sender<EndReason>,
    pub close: oneshot::Receiver<Farewell>,
}

/// A wire with its ends: for the session, for the words stage, for who reads the client and for who writes to it.
#[must_use]
pub fn wire(form: Form, limits: &Limits, seen: Arc<LastSeen>) -> (Wire, OutboxTx, Reading, Writing) {
    let (inbox_tx, inbox) = links::inbox(limits.inbox_messages);
    let (aside, aside_rx) = links::aside();
    let (outbox, outbox_rx) = links::outbox(limits.outbox_messages);
    let (gone_tx, gone) = oneshot::channel();
    let (over_tx, over) = oneshot::channel();
    let (close, close_rx) = oneshot::channel();
    let reading = Reading {
        inbox: inbox_tx,
        aside: aside.clone(),
        seen: Arc::clone(&seen),
        gone: gone_tx,
    };
    let writing = Writing {
        outbox: outbox_rx,
        aside: aside_rx,
        over: over_tx,
        close: close_rx,
    };
    (
        Wire {
            form,
            inbox,
            gone,
            aside,
            over,
            close,
            seen,
            socket: None,
        },
        outbox,
        reading,
        writing,
    )
}
