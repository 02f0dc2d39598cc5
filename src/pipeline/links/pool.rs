//! The way back of things that are used again.

use crossbeam_channel::{Receiver, Sender, bounded};

/// Returns things to their pool.
pub struct Returns<T>(Sender<T>);

impl<T> Clone for Returns<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Returns<T> {
    /// Puts `thing` back. What the pool has no room for is dropped.
    pub fn put(&self, thing: T) {
        let _ = self.0.try_send(thing);
    }
}

/// The things in a pool that nobody uses.
pub struct Unused<T>(Receiver<T>);

impl<T> Unused<T> {
    /// Takes one, if there is one.
    #[must_use]
    pub fn take(&self) -> Option<T> {
        self.0.try_recv().ok()
    }
}

/// Makes an empty pool that keeps up to `most` unused things.
#[must_use]
pub fn pool<T>(most: usize) -> (Returns<T>, Unused<T>) {
    let (put, take) = bounded(most);
    (Returns(put), Unused(take))
}
