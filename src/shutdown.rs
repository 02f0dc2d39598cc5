//! The life of the process, as everyone who has to act on it sees it.

use tokio::sync::watch;
use tokio::time::Instant;

/// Where the process is in its life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifecycle {
    /// Models are being loaded.
    #[default]
    Starting,
    Ready,
    /// A signal to stop came: load balancers are told, clients are still served and admitted.
    NotReady,
    /// No new sessions; those that are open may finish until then.
    Draining {
        until: Instant,
    },
    /// A stage failed: every session ends now.
    Failed,
    /// All sessions are over.
    Stopped,
}

impl Lifecycle {
    /// True while new sessions are admitted.
    #[must_use]
    pub fn admits(self) -> bool {
        matches!(self, Self::Ready | Self::NotReady)
    }
}

/// A lifecycle that its holder moves on and everyone else watches.
#[must_use]
pub fn lifecycle() -> (watch::Sender<Lifecycle>, watch::Receiver<Lifecycle>) {
    watch::channel(Lifecycle::default())
}
