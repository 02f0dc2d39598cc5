//! The engine's columns: one dense array per component with one entry per row, allocated at start, owned by one thread.

use std::collections::VecDeque;
use std::ops::{Index, IndexMut};
use std::sync::Arc;
use std::time::Instant;

use super::bounds::Bounds;
use super::credits::Credits;
use super::frame::FrameBuf;
use super::phase::{Phase, PhaseEvent};
use super::speaking::Speaking;
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::ids::{RowId, RowKey};

/// One component of every row. Never grows.
pub struct Col<T>(Box<[T]>);

impl<T> Col<T> {
    /// A column of `rows` values.
    pub fn new(rows: usize, value: impl FnMut() -> T) -> Self {
        Self(std::iter::repeat_with(value).take(rows).collect())
    }

    /// Iterates over the rows, lowest first.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }
}

impl<T> Index<RowId> for Col<T> {
    type Output = T;

    fn index(&self, row: RowId) -> &T {
        &self.0[row.index()]
    }
}

impl<T> IndexMut<RowId> for Col<T> {
    fn index_mut(&mut self, row: RowId) -> &mut T {
        &mut self.0[row.index()]
    }
}

/// Samples of a row that wait for the model, in the blocks they came in.
pub struct AudioRing {
    blocks: VecDeque<FrameBuf>,
    len: usize,
    bound: usize,
    /// When the last sample taken had arrived.
    taken: Option<Instant>,
}

impl AudioRing {
    fn new(bounds: Bounds) -> Self {
        Self {
            // All blocks but the first and the last are full.
            blocks: VecDeque::with_capacity(bounds.frames() + 2),
            len: 0,
            bound: bounds.credits as usize,
            taken: None,
        }
    }

    /// Returns the number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// True when there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Appends a block. False when there is more audio than any session has credits for.
    #[must_use]
    pub fn push(&mut self, mut buf: FrameBuf) -> bool {
        // Decoded audio may be one sample per message longer than what was charged.
        if self.len + buf.len() > self.bound + FRAME_SAMPLES {
            return false;
        }
        self.len += buf.len();
        if let Some(last) = self.blocks.back_mut() {
            let taken = buf.len() - last.fill(buf.samples()).len();
            buf.skip(taken);
            if taken > 0 {
                last.arrived = buf.arrived;
            }
        }
        if !buf.is_empty() {
            self.blocks.push_back(buf);
        }
        true
    }

    /// Moves samples from the front into all of `to`, or as many as there are; returns how many.
    pub fn take(&mut self, to: &mut [f32]) -> usize {
        let mut done = 0;
        while let Some(first) = self.blocks.front_mut() {
            done += first.drain_into(&mut to[done..]);
            self.taken = first.arrived;
            if !first.is_empty() {
                break;
            }
            self.blocks.pop_front();
        }
        self.len -= done;
        done
    }

    /// Returns when the last sample that was taken had arrived.
    #[must_use]
    pub fn taken(&self) -> Option<Instant> {
        self.taken
    }

    /// Drops all samples.
    pub fn clear(&mut self) {
        self.blocks.clear();
        self.len = 0;
    }
}

/// A client's marker: its place in the audio, and the step after which all text up to there is out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    pub at: u64,
    pub asked: Instant,
    pub id: i64,
    /// The step after which it is answered; known once the audio before it has been stepped.
    pub due: Option<u64>,
}

/// A request that takes effect at an exact place in the audio.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    pub at: u64,
    pub asked: Instant,
    pub what: StopKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StopKind {
    /// The client asked for all output of the audio so far.
    Flush,
    /// The engine asks on its own, because markers wait and no audio comes.
    Settle,
    Restart,
    End,
}

/// Gives a session's credits back as its audio is used up.
#[derive(Default)]
pub struct CreditReturn {
    credits: Option<Arc<Credits>>,
    /// Credits that were taken for audio in the ring.
    held: u32,
}

impl CreditReturn {
    pub fn open(&mut self, credits: Arc<Credits>) {
        *self = Self {
            credits: Some(credits),
            held: 0,
        };
    }

    /// Notes that audio charged `credit` went into the ring.
    pub fn hold(&mut self, credit: u32) {
        self.held += credit;
    }

    /// Gives back the credits of `samples` that left the ring.
    pub fn release(&mut self, samples: usize) {
        let credit = self.held.min(u32::try_from(samples).unwrap_or(u32::MAX));
        self.held -= credit;
        self.give(credit);
    }

    /// Gives back credits of input that never was in the ring.
    pub fn give(&self, credit: u32) {
        if let Some(credits) = &self.credits {
            credits.give(credit);
        }
    }
}

/// All components that the engine keeps per row.
pub struct EngineCols {
    /// Epoch of the lease on the row, 0 when there is none.
    pub epoch: Col<u32>,
    pub phase: Col<Phase>,
    pub ring: Col<AudioRing>,
    /// Samples of this stream taken from the ring.
    pub consumed: Col<u64>,
    /// Steps of this stream, added silence included.
    pub steps: Col<u64>,
    /// The step that took the last audio from the ring.
    pub last_audio_step: Col<u64>,
    /// Number of steps of silence still to add.
    pub silence: Col<u32>,
    pub marks: Col<VecDeque<Mark>>,
    pub stops: Col<VecDeque<Stop>>,
    /// When waiting markers are answered without waiting for more audio.
    pub patience: Col<Option<Instant>>,
    /// Since when the row has been ready to step.
    pub ready_since: Col<Option<Instant>>,
    pub credit: Col<CreditReturn>,
    /// Credits for the row's output; what is taken of them its client has not read yet.
    pub room: Col<Option<Arc<Credits>>>,
    pub speaking: Col<Speaking>,
    /// Whether the model takes text and gives audio; so all its rows do.
    pub speaks: bool,
}

impl EngineCols {
    #[must_use]
    pub fn new(bounds: Bounds) -> Self {
        let rows = bounds.rows;
        let queue = bounds.controls() + 1;
        Self {
            epoch: Col::new(rows, || 0),
            phase: Col::new(rows, Phase::default),
            ring: Col::new(rows, || AudioRing::new(bounds)),
            consumed: Col::new(rows, || 0),
            steps: Col::new(rows, || 0),
            last_audio_step: Col::new(rows, || 0),
            silence: Col::new(rows, || 0),
            marks: Col::new(rows, || VecDeque::with_capacity(queue)),
            stops: Col::new(rows, || VecDeque::with_capacity(queue)),
            patience: Col::new(rows, || None),
            ready_since: Col::new(rows, || None),
            credit: Col::new(rows, CreditReturn::default),
            room: Col::new(rows, || None),
            speaking: Col::new(rows, || Speaking::new(bounds)),
            speaks: false,
        }
    }

    /// Resets all components of a row except `epoch` and `phase` to those of an unused row.
    pub fn wipe(&mut self, row: RowId) {
        let Self {
            epoch: _,
            phase: _,
            ring,
            consumed,
            steps,
            last_audio_step,
            silence,
            marks,
            stops,
            patience,
            ready_since,
            credit,
            room,
            speaking,
            speaks: _,
        } = self;
        ring[row].clear();
        consumed[row] = 0;
        steps[row] = 0;
        last_audio_step[row] = 0;
        silence[row] = 0;
        marks[row].clear();
        stops[row].clear();
        patience[row] = None;
        ready_since[row] = None;
        credit[row] = CreditReturn::default();
        room[row] = None;
        speaking[row].wipe();
    }

    /// Iterates over all rows, lowest first.
    pub fn rows(&self) -> impl Iterator<Item = RowId> + use<> {
        // invariant: a model has at most 2^16 rows (checked with the configuration).
        (0..self.epoch.0.len()).map(|row| RowId(row as u16))
    }

    /// True for a message of the lease that has the row now.
    #[must_use]
    pub fn is_current(&self, key: RowKey) -> bool {
        self.epoch[key.row] == key.epoch.get()
    }

    /// Returns the lease on `row`, if there is one.
    #[must_use]
    pub fn key(&self, row: RowId) -> Option<RowKey> {
        let epoch = std::num::NonZeroU32::new(self.epoch[row])?;
        Some(RowKey { row, epoch })
    }

    /// Moves a row to its next phase. False, and the row unchanged, where the event is illegal.
    #[must_use]
    pub fn advance(&mut self, row: RowId, event: PhaseEvent) -> bool {
        let Some(next) = self.phase[row].next(event) else {
            return false;
        };
        self.phase[row] = next;
        true
    }

    /// Returns the number of samples of this stream that arrived.
    #[must_use]
    pub fn arrived(&self, row: RowId) -> u64 {
        self.consumed[row] + self.ring[row].len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pipeline::frame::FramePool;

    #[test]
    fn a_ring_joins_blocks_of_any_length_in_order() {
        let bounds = Bounds::new(1, 4);
        let pool = FramePool::new(8);
        let mut ring = AudioRing::new(bounds);
        let samples: Vec<f32> = (0..5000).map(|i| i as f32).collect();
        for piece in [
            &samples[..700],
            &samples[700..2500],
            &samples[2500..4400],
            &samples[4400..],
        ] {
            let mut buf = pool.take();
            assert!(buf.fill(piece).is_empty());
            assert!(ring.push(buf));
        }
        assert!(ring.blocks.len() <= 4 && ring.len() == 5000);
        let mut out = vec![0.0; FRAME_SAMPLES];
        let mut all = Vec::new();
        while !ring.is_empty() {
            let n = ring.take(&mut out);
            all.extend_from_slice(&out[..n]);
        }
        assert_eq!(all, samples);
    }

    #[test]
    fn a_ring_refuses_more_than_the_credits_of_a_session() {
        let pool = FramePool::new(1);
        let mut ring = AudioRing::new(Bounds::new(1, 2));
        let mut full = || {
            let mut buf = pool.take();
            buf.fill(&[0.5; FRAME_SAMPLES]);
            ring.push(buf)
        };
        assert!(full() && full() && full() && full());
        assert!(!full());
    }
}
