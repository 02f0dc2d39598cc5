//! Whether the server serves: one state, watched by whoever has to know.

use std::sync::Arc;

use tokio::sync::watch;

use super::labels::{Labels, Pair};
use super::metrics::Meters;

/// State of the whole server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum State {
    /// Models are loading.
    Starting,
    Ready,
    /// Alive, but newcomers should go elsewhere for now.
    Degraded,
    /// Told to stop: no newcomers, sessions may finish.
    Draining,
    /// The grace period is over: sessions are being ended.
    Forcing,
    Stopped,
    /// An engine failed; the process ends and has to be started again.
    Dead,
}

impl State {
    /// Every state, in the order of the enum.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Ready,
        Self::Degraded,
        Self::Draining,
        Self::Forcing,
        Self::Stopped,
        Self::Dead,
    ];

    /// Value of the metric label, and what `/readyz` says.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::Degraded => "degraded",
            Self::Draining => "draining",
            Self::Forcing => "forcing",
            Self::Stopped => "stopped",
            Self::Dead => "dead",
        }
    }

    /// Newcomers are welcome (`/readyz` answers 200).
    #[must_use]
    pub const fn is_ready(self) -> bool {
        matches!(self, Self::Ready)
    }

    /// The process does its work or will soon (`/livez` answers 200).
    #[must_use]
    pub const fn is_live(self) -> bool {
        !matches!(self, Self::Dead | Self::Stopped)
    }

    /// Whether the server can go from here to `next`. It never comes back from stopping, and not from death.
    #[must_use]
    pub const fn can_become(self, next: Self) -> bool {
        match self {
            Self::Starting | Self::Ready | Self::Degraded => !matches!(next, Self::Starting),
            Self::Draining => matches!(next, Self::Forcing | Self::Stopped | Self::Dead),
            Self::Forcing => matches!(next, Self::Stopped | Self::Dead),
            Self::Stopped | Self::Dead => false,
        }
    }
}

impl Labels for State {
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

/// The state, to read, to change and to wait for. Clones share it.
#[derive(Clone)]
pub struct Health {
    state: Arc<watch::Sender<State>>,
    meters: Meters,
}

impl Health {
    /// Begins at [`State::Starting`].
    #[must_use]
    pub fn new(meters: Meters) -> Self {
        meters.health.state.of(State::Starting).set(1);
        Self {
            state: Arc::new(watch::Sender::new(State::Starting)),
            meters,
        }
    }

    /// The state now.
    #[must_use]
    pub fn get(&self) -> State {
        *self.state.borrow()
    }

    /// Goes to `next` if that is possible from here; tells whether it did.
    pub fn become_state(&self, next: State) -> bool {
        self.state.send_if_modified(|state| {
            if *state == next || !state.can_become(next) {
                return false;
            }
            self.meters.health.state.of(*state).set(0);
            self.meters.health.state.of(next).set(1);
            *state = next;
            true
        })
    }

    /// A receiver that sees every change from now on.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<State> {
        self.state.subscribe()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stopping_and_death_are_final() {
        let health = Health::new(Meters::default());
        assert!(health.become_state(State::Ready));
        assert!(health.become_state(State::Draining));
        assert!(!health.become_state(State::Ready));
        assert!(health.become_state(State::Dead));
        for state in State::ALL {
            assert!(!health.become_state(state), "{} after death", state.label());
        }
        assert_eq!(health.get(), State::Dead);
    }

    #[test]
    fn exactly_one_state_is_exported_as_1() {
        let meters = Meters::default();
        let health = Health::new(meters.clone());
        for next in [State::Ready, State::Degraded, State::Ready, State::Draining] {
            health.become_state(next);
            let text = meters.render();
            let ones: Vec<&str> = text
                .lines()
                .filter(|line| line.starts_with("moshi_health_state{") && line.ends_with(" 1"))
                .collect();
            assert_eq!(
                ones,
                [format!("moshi_health_state{{state=\"{}\"}} 1", next.label())]
            );
        }
    }

    #[tokio::test]
    async fn watchers_see_a_change() {
        let health = Health::new(Meters::default());
        let mut watch = health.watch();
        health.become_state(State::Ready);
        watch.changed().await.unwrap();
        assert!(watch.borrow().is_ready());
    }
}
