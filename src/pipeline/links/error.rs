//! Why a link takes nothing.

use crossbeam_channel::TrySendError;

/// The stage behind a link is gone, or a link with policy `WhenFull::Bug` is full.
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
