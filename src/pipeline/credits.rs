//! Credits: how much of one session may be in flight, on its way in and on its way out.
//!
//! It is the flow control by credits of switched networks (Kung and Morris, "Credit-based flow control for ATM networks",
//! IEEE Network, 1995): whoever sends takes credits first, whoever disposes of what was sent gives them back, so that no
//! queue between them can overflow. On the way in the unit is one sample at 24 kHz, taken by the session and given back by
//! the stage that uses the audio up. On the way out it is one event of a step, taken by the engine before the step and
//! given back when the client's writer takes the event.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Poll, Waker};

use futures_util::task::AtomicWaker;

/// Smallest charge: 20 ms. A client that sends tiny messages fills queues by the message, not by the sample.
pub const MIN_CHARGE: u32 = 480;

/// Credits of one session in one direction: one taker, any thread gives. Giving neither locks nor allocates unless the taker
/// waits.
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

    /// Returns the total number of credits, free or not.
    #[must_use]
    pub fn size(&self) -> u32 {
        self.size
    }

    /// Returns the number of credits that were taken and not given back.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.size.saturating_sub(self.free.load(Ordering::Acquire))
    }

    /// Whether `n` are free.
    #[must_use]
    pub fn has(&self, n: u32) -> bool {
        self.free.load(Ordering::Acquire) >= n
    }

    /// Whether `n` are free. If they are not, `waker` is woken when some are given. Only one taker may wait.
    #[must_use]
    pub fn has_or_wake(&self, n: u32, waker: &Waker) -> bool {
        if self.has(n) {
            return true;
        }
        self.taker.register(waker);
        // Credits may have come back between the check and the registration.
        self.has(n)
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
        self.take_and_leave(n, 0).await;
    }

    /// Takes `n`, waiting until they and `left` more are free. Only one task may wait.
    pub async fn take_and_leave(&self, n: u32, left: u32) {
        poll_fn(|context| {
            if self.has_or_wake(n + left, context.waker()) && self.try_take(n) {
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
