//! Every queue of the server: where it is made, how much it holds, and what happens when it is full.
//!
//! No channel is created anywhere else. Sizes follow from the credits of a session, so a link whose policy is
//! [`WhenFull::Bug`] can only be full if the accounting is wrong.

use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};
use std::time::Instant;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, TryRecvError, TrySendError, bounded};
use tokio::sync::mpsc;

use super::credits::{Credits, MIN_CHARGE};
use super::frame::{Block, FramePool};
use super::messages::{Ingress, Pcm};
use super::outbox::{OutboxRx, OutboxTx, STEP_EVENTS};
use super::tick::TickOutput;
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::ids::RowKey;

/// What a full queue does to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The sender waits, and so does everything before it.
    Stall,
    /// The newcomer is told to come back later.
    Refuse,
    /// It cannot be full while credits are counted right: the session ends, and the log says so.
    Bug,
}

/// One queue, for the documentation and its test.
pub struct Link {
    pub name: &'static str,
    pub when_full: WhenFull,
}

const fn link(name: &'static str, when_full: WhenFull) -> Link {
    Link { name, when_full }
}

/// Every queue between a socket and its words, in the order audio passes them.
pub const LINKS: [Link; 9] = [
    link("connections", WhenFull::Refuse),
    link("admission", WhenFull::Refuse),
    link("inbox", WhenFull::Stall),
    link("credits", WhenFull::Stall),
    link("ingress", WhenFull::Bug),
    link("frames", WhenFull::Bug),
    link("ring", WhenFull::Bug),
    link("steps", WhenFull::Stall),
    link("outbox", WhenFull::Stall),
];

/// Outputs of ticks that may be under way to the output stage.
pub const STEP_LINK: usize = 4;
/// Messages of the session itself that wait for its writer.
const ASIDE: usize = 8;

/// How much one row can have in flight; everything else follows.
#[derive(Clone, Copy, Debug)]
pub struct Bounds {
    /// Rows of the module.
    pub rows: usize,
    /// Credits of a session, in samples.
    pub credits: u32,
}

impl Bounds {
    /// Bounds for sessions that may be `frames_ahead` whole frames ahead of the model. One more frame pays for the
    /// samples that do not fill a frame yet.
    #[must_use]
    pub fn new(rows: usize, frames_ahead: usize) -> Self {
        let credits = (frames_ahead + 1) * FRAME_SAMPLES;
        Self {
            rows,
            credits: u32::try_from(credits).unwrap_or(u32::MAX),
        }
    }

    /// Most a single message may cost: the rest may be held by samples that do not fill a frame.
    #[must_use]
    pub fn largest_charge(&self) -> u32 {
        self.credits - FRAME_SAMPLES as u32
    }

    /// Messages of one row between session and decoder: all charged, besides one Attach and one Detach.
    fn messages(&self) -> usize {
        (self.credits / MIN_CHARGE) as usize + 2
    }

    /// Whole frames one row can hold.
    #[must_use]
    pub fn frames(&self) -> usize {
        self.credits as usize / FRAME_SAMPLES
    }

    /// Control messages one row can hold.
    #[must_use]
    pub fn controls(&self) -> usize {
        (self.credits / MIN_CHARGE) as usize
    }

    /// Messages of one row between input stage and engine: each control message may push a part of a frame ahead of it;
    /// besides Attach, Detach and a failure there is at most one wake-up.
    fn pieces(&self) -> usize {
        self.frames() + 2 * self.controls() + 4
    }

    /// Most answers to the control messages of one row: the rest of a word, its end, and the answer itself.
    #[must_use]
    pub fn answers(&self) -> usize {
        3 * self.controls()
    }
}

/// The stage behind a link is gone, or a link with policy [`WhenFull::Bug`] is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    #[error("the next stage has ended")]
    Closed,
    #[error("a link that cannot be full is full")]
    Full,
}

impl<T> From<TrySendError<T>> for LinkError {
    fn from(error: TrySendError<T>) -> Self {
        match error {
            TrySendError::Full(_) => Self::Full,
            TrySendError::Disconnected(_) => Self::Closed,
        }
    }
}

/// Sessions' end of the links to the decoders.
#[derive(Clone)]
pub struct IngressTx {
    shards: Arc<[Sender<Ingress>]>,
}

impl IngressTx {
    /// Sends to the decoder of the row. Never waits.
    pub fn send(&self, key: RowKey, message: Ingress) -> Result<(), LinkError> {
        Ok(self.shards[key.row.index() % self.shards.len()].try_send(message)?)
    }

    /// Messages under way to decoders.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.shards.iter().map(Sender::len).sum()
    }
}

/// A decoder's end.
pub struct IngressRx(Receiver<Ingress>);

impl IngressRx {
    /// Waits for a message; none when all senders are gone.
    pub fn recv(&self) -> Option<Ingress> {
        self.0.recv().ok()
    }
}

/// Links from sessions to `shards` decoders.
#[must_use]
pub fn ingress(bounds: Bounds, shards: usize) -> (IngressTx, Vec<IngressRx>) {
    let rows_each = bounds.rows.div_ceil(shards);
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..shards)
        .map(|_| bounded(rows_each * bounds.messages()))
        .unzip();
    let shards = senders.into();
    (
        IngressTx { shards },
        receivers.into_iter().map(IngressRx).collect(),
    )
}

/// The input stage's end of the link to the engine.
#[derive(Clone)]
pub struct PcmTx(Arc<Sender<Pcm>>);

impl PcmTx {
    /// Never waits.
    pub fn send(&self, message: Pcm) -> Result<(), LinkError> {
        Ok(self.0.try_send(message)?)
    }
}

impl PcmTx {
    /// Returns what wakes the engine when a client has taken output. It does not keep the link open.
    #[must_use]
    pub fn waker(&self) -> Waker {
        Arc::new(EngineWaker(Arc::downgrade(&self.0))).into()
    }
}

struct EngineWaker(Weak<Sender<Pcm>>);

impl Wake for EngineWaker {
    fn wake(self: Arc<Self>) {
        if let Some(link) = self.0.upgrade() {
            // A full link wakes the engine by itself.
            let _ = link.try_send(Pcm::Wake);
        }
    }
}

/// The engine's end.
pub struct PcmRx(Receiver<Pcm>);

/// Result of a receive from [`PcmRx`].
pub enum Arrival {
    Message(Pcm),
    Nothing,
    Closed,
}

impl PcmRx {
    pub fn try_recv(&self) -> Arrival {
        match self.0.try_recv() {
            Ok(message) => Arrival::Message(message),
            Err(TryRecvError::Empty) => Arrival::Nothing,
            Err(TryRecvError::Disconnected) => Arrival::Closed,
        }
    }

    /// Waits for a message, until `deadline` if there is one.
    pub fn wait(&self, deadline: Option<Instant>) -> Arrival {
        let Some(deadline) = deadline else {
            return self.0.recv().map_or(Arrival::Closed, Arrival::Message);
        };
        match self.0.recv_deadline(deadline) {
            Ok(message) => Arrival::Message(message),
            Err(RecvTimeoutError::Timeout) => Arrival::Nothing,
            Err(RecvTimeoutError::Disconnected) => Arrival::Closed,
        }
    }

    /// Messages under way.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.0.len()
    }
}

/// The link from decoders to the engine.
#[must_use]
pub fn pcm(bounds: Bounds) -> (PcmTx, PcmRx) {
    let (tx, rx) = bounded(bounds.rows * bounds.pieces());
    (PcmTx(Arc::new(tx)), PcmRx(rx))
}

/// The engine's end of the link to the output stage: outputs go out full and come back empty.
pub struct StepTx {
    full: Sender<Box<TickOutput>>,
    empty: Receiver<Box<TickOutput>>,
}

impl StepTx {
    /// Sends `output` and returns an empty one, waiting for the output stage to finish with one if need be. None when
    /// that stage has ended.
    pub fn exchange(&self, output: Box<TickOutput>) -> Option<Box<TickOutput>> {
        self.full.send(output).ok()?;
        self.empty.recv().ok()
    }

    /// Outputs that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.full.len()
    }
}

/// The output stage's end.
pub struct StepRx {
    full: Receiver<Box<TickOutput>>,
    empty: Sender<Box<TickOutput>>,
}

impl StepRx {
    /// Waits for an output; none when the engine has ended.
    pub fn recv(&self) -> Option<Box<TickOutput>> {
        self.full.recv().ok()
    }

    /// An output if there is one.
    pub fn try_recv(&self) -> Option<Box<TickOutput>> {
        self.full.try_recv().ok()
    }

    /// Gives an output back for the next tick.
    pub fn give_back(&self, mut output: Box<TickOutput>) {
        output.clear();
        // The engine is gone or, which cannot be, there are more outputs than were made: drop it either way.
        let _ = self.empty.try_send(output);
    }
}

/// The link from the engine to the output stage, with the output the engine begins with.
#[must_use]
pub fn steps(rows: usize, heads: usize) -> (StepTx, StepRx, Box<TickOutput>) {
    let (full, filled) = bounded(STEP_LINK);
    let (emptied, empty) = bounded(STEP_LINK + 1);
    for _ in 0..STEP_LINK {
        // The link was made with room for these.
        let _ = emptied.try_send(Box::new(TickOutput::new(rows, heads)));
    }
    let first = Box::new(TickOutput::new(rows, heads));
    (
        StepTx { full, empty },
        StepRx {
            full: filled,
            empty: emptied,
        },
        first,
    )
}

/// Return path of a block to its pool.
#[derive(Clone)]
pub struct FrameHome(Sender<Block>);

impl FrameHome {
    pub(super) fn put(&self, block: Block) {
        // More blocks than the shelf holds are freed.
        let _ = self.0.try_send(block);
    }
}

/// Unused blocks.
#[derive(Clone)]
pub struct FrameShelf(Receiver<Block>);

impl FrameShelf {
    pub(super) fn take(&self) -> Option<Block> {
        self.0.try_recv().ok()
    }
}

/// A pool that keeps up to `blocks` unused blocks.
#[must_use]
pub fn frame_pool(blocks: usize) -> FramePool {
    let (tx, rx) = bounded(blocks);
    FramePool::new(FrameShelf(rx), FrameHome(tx))
}

/// Events of one stream that its client's writer has not taken: `steps` of steps, for which the engine takes credits, and
/// `answers` to control messages that were under way when the client stopped reading. A session takes no further input
/// while half of the outbox is in use, so it cannot overflow.
#[must_use]
pub fn outbox(steps: usize, answers: usize) -> (OutboxTx, OutboxRx) {
    let (tx, rx) = mpsc::channel(2 * (steps + answers));
    let steps = u32::try_from(steps).unwrap_or(u32::MAX);
    OutboxTx::pair(tx, rx, Credits::new(steps.max(STEP_EVENTS)))
}

/// Messages read from one socket that its session has not taken.
#[must_use]
pub fn inbox<T>(messages: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(messages)
}

/// What a session and its reader have to say besides words; whoever finds it full drops what it had to say.
#[must_use]
pub fn aside<T>() -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(ASIDE)
}

/// Channel on which stage threads report their exit.
#[must_use]
pub fn ends<T>(threads: usize) -> (mpsc::Sender<T>, mpsc::Receiver<T>) {
    mpsc::channel(threads.max(1))
}
