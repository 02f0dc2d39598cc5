//! Credits: how much audio one session may have between its socket and the model.
//!
//! The unit is one sample at 24 kHz. The session takes credits for a message before it sends it on; the stage that
//! disposes of the audio gives them back. What is not free is in flight, to the sample.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;

use futures_util::task::AtomicWaker;

/// Smallest charge: 20 ms. A client that sends tiny messages fills queues by the message, not by the sample.
pub const MIN_CHARGE: u32 = 480;

/// Credits of one session: one task takes, any thread gives. Giving neither locks nor allocates unless the taker waits.
pub struct Credits {
    free: AtomicU32,
    size: u32,
    taker: AtomicWaker,
}

impl Credits {
    #[must_use]
    pub fn new(size: u32) -> Self {
        Self {
            free: AtomicU32::new(size),
            size,
            taker: AtomicWaker::new(),
        }
    }

    /// All credits there are.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Credits taken and not given back.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.size.saturating_sub(self.free.load(Ordering::Acquire))
    }

    /// Whether `n` are free.
    #[must_use]
    pub fn has(&self, n: u32) -> bool {
        self.free.load(Ordering::Acquire) >= n
    }

    /// Takes `n` if they are free.
    pub fn try_take(&self, n: u32) -> bool {
        let less = |free: u32| free.checked_sub(n);
        self.free
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, less)
            .is_ok()
    }

    /// Takes `n`, waiting for them. More than [`Self::size`] are never free. Only one task may wait.
    pub async fn take(&self, n: u32) {
        poll_fn(|context| {
            if self.try_take(n) {
                return Poll::Ready(());
            }
            self.taker.register(context.waker());
            // They may have come between the look and the registration.
            if self.try_take(n) {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }

    /// Gives `n` back.
    pub fn give(&self, n: u32) {
        if n > 0 {
            self.free.fetch_add(n, Ordering::AcqRel);
            self.taker.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test]
    async fn a_taker_waits_until_enough_is_given() {
        let credits = Arc::new(Credits::new(1000));
        credits.take(900).await;
        assert!(!credits.try_take(101));
        assert!(credits.has(100) && !credits.has(101));
        let waiting = tokio::spawn({
            let credits = Arc::clone(&credits);
            async move { credits.take(500).await }
        });
        tokio::task::yield_now().await;
        credits.give(300);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        credits.give(100);
        waiting.await.unwrap();
        assert_eq!(credits.in_flight(), 1000);
    }
}
