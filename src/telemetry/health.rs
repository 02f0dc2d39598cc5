//! The server's state as a metric: exactly one series is 1.

use tokio::sync::watch;

use super::labels::{Labels, Pair};
use super::metrics::Meters;
use crate::shutdown::Lifecycle;

/// A state of the server without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting,
    Ready,
    NotReady,
    Draining,
    Failed,
    Stopped,
}

impl Phase {
    const ALL: [Self; 6] = [
        Self::Starting,
        Self::Ready,
        Self::NotReady,
        Self::Draining,
        Self::Failed,
        Self::Stopped,
    ];

    const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::NotReady => "not_ready",
            Self::Draining => "draining",
            Self::Failed => "failed",
            Self::Stopped => "stopped",
        }
    }
}

impl From<Lifecycle> for Phase {
    fn from(lifecycle: Lifecycle) -> Self {
        match lifecycle {
            Lifecycle::Starting => Self::Starting,
            Lifecycle::Ready => Self::Ready,
            Lifecycle::NotReady => Self::NotReady,
            Lifecycle::Draining { .. } => Self::Draining,
            Lifecycle::Failed => Self::Failed,
            Lifecycle::Stopped => Self::Stopped,
        }
    }
}

impl Labels for Phase {
    const COUNT: usize = Self::ALL.len();

    fn index(self) -> usize {
        self as usize
    }

    fn all() -> Vec<Vec<Pair>> {
        Self::ALL
            .iter()
            .map(|state| vec![("state", state.label().into())])
            .collect()
    }
}

/// Publishes every state that `lifecycle` goes through, until its sender is gone.
pub async fn follow(meters: Meters, mut lifecycle: watch::Receiver<Lifecycle>) {
    loop {
        let now = Phase::from(*lifecycle.borrow_and_update());
        for state in Phase::ALL {
            meters
                .health
                .state
                .of(state)
                .set(if state == now { 1 } else { 0 });
        }
        if lifecycle.changed().await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn exactly_one_state_is_exported_as_1() {
        let (sender, receiver) = watch::channel(Lifecycle::Starting);
        let meters = Meters::default();
        let following = tokio::spawn(follow(meters.clone(), receiver));
        for (next, label) in [
            (Lifecycle::Ready, "ready"),
            (Lifecycle::NotReady, "not_ready"),
            (Lifecycle::Failed, "failed"),
        ] {
            sender.send_replace(next);
            let wanted = format!("moshi_health_state{{state=\"{label}\"}} 1");
            while !meters.render().contains(&wanted) {
                tokio::task::yield_now().await;
            }
            let text = meters.render();
            let ones = text
                .lines()
                .filter(|line| line.starts_with("moshi_health_state{") && line.ends_with(" 1"));
            assert_eq!(ones.count(), 1, "{text}");
        }
        drop(sender);
        following.await.unwrap();
    }
}
