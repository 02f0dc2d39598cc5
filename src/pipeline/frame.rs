//! Audio in flight: pooled blocks of samples that go back to their pool when dropped.

use std::sync::Arc;
use std::time::Instant;

use super::links::pool::{Returns, Unused, pool};
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::sound::{Reuse, Samples as Block, Sound};

/// Up to a frame of samples. Dropping it gives its storage back.
pub struct FrameBuf {
    /// None only while dropping.
    block: Option<Block>,
    start: usize,
    end: usize,
    /// When its last sample reached the engine.
    pub(super) arrived: Option<Instant>,
    home: Returns<Block>,
}

impl FrameBuf {
    /// Returns the samples.
    #[must_use]
    pub fn samples(&self) -> &[f32] {
        self.block
            .as_ref()
            .map_or(&[], |block| &block[self.start..self.end])
    }

    /// Returns the number of samples.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// True when there are no samples.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// Appends as many of `samples` as fit, and returns the rest.
    pub fn fill<'a>(&mut self, samples: &'a [f32]) -> &'a [f32] {
        let (now, rest) = samples.split_at(samples.len().min(FRAME_SAMPLES - self.end));
        if let Some(block) = &mut self.block {
            block[self.end..][..now.len()].copy_from_slice(now);
        }
        self.end += now.len();
        rest
    }

    /// Drops up to `n` samples from the front.
    pub fn skip(&mut self, n: usize) {
        self.start += n.min(self.len());
    }

    /// Moves samples from the front into `to`, as many as there are and fit; returns how many.
    pub fn drain_into(&mut self, to: &mut [f32]) -> usize {
        let n = self.len().min(to.len());
        to[..n].copy_from_slice(&self.samples()[..n]);
        self.start += n;
        n
    }
}

impl Drop for FrameBuf {
    fn drop(&mut self) {
        if let Some(block) = self.block.take() {
            self.home.put(block);
        }
    }
}

/// Hands out blocks. It grows to the most that were ever in flight, which the credits of the sessions bound.
pub struct FramePool {
    unused: Unused<Block>,
    home: Returns<Block>,
}

impl FramePool {
    /// A pool that keeps up to `blocks` unused blocks.
    #[must_use]
    pub fn new(blocks: usize) -> Self {
        let (home, unused) = pool(blocks);
        Self { unused, home }
    }

    /// Takes an empty block.
    pub fn take(&self) -> FrameBuf {
        FrameBuf {
            block: Some(
                self.unused
                    .take()
                    .unwrap_or_else(|| Box::new([0.0; FRAME_SAMPLES])),
            ),
            start: 0,
            end: 0,
            arrived: None,
            home: self.home.clone(),
        }
    }
}

impl Reuse for Returns<Block> {
    fn take_back(&self, samples: Block) {
        self.put(samples);
    }
}

/// Hands out frames of speech. It grows to the most that were ever in flight, which the credits of the clients' output bound.
pub struct SoundPool {
    unused: Unused<Block>,
    home: Arc<dyn Reuse>,
}

impl SoundPool {
    /// A pool that keeps up to `blocks` unused blocks.
    #[must_use]
    pub fn new(blocks: usize) -> Self {
        let (home, unused) = pool(blocks);
        let home = Arc::new(home);
        Self { unused, home }
    }

    /// Returns a frame of `samples`, cut off or filled up with silence where they are not one.
    #[must_use]
    pub fn sound(&self, samples: &[f32]) -> Sound {
        let block = self.unused.take();
        let mut block = block.unwrap_or_else(|| Box::new([0.0; FRAME_SAMPLES]));
        let (kept, rest) = block.split_at_mut(samples.len().min(FRAME_SAMPLES));
        kept.copy_from_slice(&samples[..kept.len()]);
        rest.fill(0.0);
        Sound::new(block, Some(Arc::clone(&self.home)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_fills_drains_and_goes_home() {
        let pool = FramePool::new(2);
        let mut buf = pool.take();
        let samples: Vec<f32> = (0..2000).map(|i| i as f32).collect();
        assert_eq!(buf.fill(&samples).len(), 80);
        let mut out = [0.0; 1000];
        assert_eq!(buf.drain_into(&mut out), 1000);
        assert_eq!(buf.drain_into(&mut out), 920);
        assert_eq!(out[..920], samples[1000..1920]);
        assert!(buf.is_empty());
        let storage = buf.block.as_ref().unwrap().as_ptr();
        drop(buf);
        assert_eq!(pool.take().block.as_ref().unwrap().as_ptr(), storage);
    }
}
