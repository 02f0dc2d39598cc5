//! All open sessions: for the operator's list, for draining, and for the limit per user.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;
use tokio::sync::Notify;

use super::id::SessionId;
use crate::stream::stage::Stage;
use crate::telemetry::Meters;
use crate::telemetry::catalogue::Sessions;

/// All open sessions of the process.
#[derive(Default)]
pub struct Registry {
    inner: Mutex<Inner>,
    /// Wakes the waiter for the last session to end.
    emptied: Notify,
    meters: Meters,
}

#[derive(Default)]
struct Inner {
    slots: Vec<Slot>,
    free: Vec<u32>,
    users: HashMap<Arc<str>, u32>,
}

struct Slot {
    generation: NonZeroU32,
    live: Option<Live>,
}

struct Live {
    stage: Stage,
    opened: Instant,
    peer: SocketAddr,
}

/// One line of the operator's list.
#[derive(Debug, Serialize)]
pub struct Listed {
    pub id: String,
    pub stage: Stage,
    pub age_s: f64,
    pub peer: String,
}

/// The user has the most sessions allowed already.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("this user has {0} sessions open, which is the most allowed")]
pub struct TooMany(pub u32);

/// A session's entry in the registry; dropping it removes the session and counts it off its user.
pub struct Entry {
    registry: Arc<Registry>,
    id: SessionId,
    peer: SocketAddr,
    user: Option<Arc<str>>,
}

impl Registry {
    /// A registry that reports to `meters`.
    #[must_use]
    pub fn new(meters: Meters) -> Self {
        Self {
            meters,
            ..Self::default()
        }
    }

    /// Registers a new session.
    pub fn open(self: &Arc<Self>, peer: SocketAddr) -> Entry {
        let live = Some(Live {
            stage: Stage::Connecting,
            opened: Instant::now(),
            peer,
        });
        self.meters.sessions.entered(Stage::Connecting);
        let mut inner = self.inner.lock();
        let slot = match inner.free.pop() {
            Some(slot) => {
                inner.slots[slot as usize].live = live;
                slot
            }
            None => {
                inner.slots.push(Slot {
                    generation: NonZeroU32::MIN,
                    live,
                });
                // invariant: connections are limited far below 2^32.
                (inner.slots.len() - 1) as u32
            }
        };
        let generation = inner.slots[slot as usize].generation;
        Entry {
            registry: Arc::clone(self),
            id: SessionId { slot, generation },
            peer,
            user: None,
        }
    }

    /// Returns the number of open sessions.
    #[must_use]
    pub fn len(&self) -> usize {
        let inner = self.inner.lock();
        inner.slots.len() - inner.free.len()
    }

    /// True when no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Waits until no session is open.
    pub async fn wait_until_empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            if self.is_empty() {
                return;
            }
            emptied.await;
        }
    }

    /// Lists the open sessions for the operator.
    #[must_use]
    pub fn list(&self) -> Vec<Listed> {
        let inner = self.inner.lock();
        let numbered = (0u32..).zip(&inner.slots);
        numbered
            .filter_map(|(slot, s)| {
                let live = s.live.as_ref()?;
                Some(Listed {
                    id: SessionId {
                        slot,
                        generation: s.generation,
                    }
                    .to_string(),
                    stage: live.stage,
                    age_s: live.opened.elapsed().as_secs_f64(),
                    peer: live.peer.to_string(),
                })
            })
            .collect()
    }
}

impl Entry {
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Returns the client's address.
    #[must_use]
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Counts the session as one of `user`'s, who may have `most`.
    ///
    /// # Errors
    /// The user has as many already.
    pub fn claim(&mut self, user: &Arc<str>, most: Option<u32>) -> Result<(), TooMany> {
        let mut inner = self.registry.inner.lock();
        let count = inner.users.entry(Arc::clone(user)).or_default();
        if let Some(most) = most.filter(|most| *count >= *most) {
            return Err(TooMany(most));
        }
        *count += 1;
        self.user = Some(Arc::clone(user));
        Ok(())
    }

    pub(super) fn meters(&self) -> &Sessions {
        &self.registry.meters.sessions
    }

    pub(super) fn set_stage(&self, stage: Stage) {
        let mut inner = self.registry.inner.lock();
        if let Some(live) = &mut inner.slots[self.id.slot as usize].live {
            self.registry.meters.sessions.moved(live.stage, stage);
            live.stage = stage;
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut inner = self.registry.inner.lock();
        let slot = &mut inner.slots[self.id.slot as usize];
        if let Some(live) = slot.live.take().filter(|live| live.stage != Stage::Closed) {
            // A request that never became a session.
            self.registry.meters.sessions.moved(live.stage, Stage::Closed);
        }
        slot.generation = slot.generation.checked_add(1).unwrap_or(NonZeroU32::MIN);
        inner.free.push(self.id.slot);
        if let Some(user) = self.user.take()
            && let Some(count) = inner.users.get_mut(&user)
        {
            *count -= 1;
            if *count == 0 {
                inner.users.remove(&user);
            }
        }
        if inner.free.len() == inner.slots.len() {
            self.registry.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer() -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], 9))
    }

    #[test]
    fn slots_are_used_again_under_a_new_generation() {
        let registry = Arc::new(Registry::default());
        let (a, b) = (registry.open(peer()), registry.open(peer()));
        assert_eq!(
            (a.id().to_string(), b.id().to_string()),
            ("s0v1".into(), "s1v1".into())
        );
        drop(a);
        assert_eq!(registry.open(peer()).id().to_string(), "s0v2");
        assert_eq!(registry.len(), 1);
    }

    #[test]
    fn a_user_has_a_share_and_gets_it_back() {
        let registry = Arc::new(Registry::default());
        let user: Arc<str> = "ann".into();
        let (mut a, mut b) = (registry.open(peer()), registry.open(peer()));
        assert_eq!(a.claim(&user, Some(1)), Ok(()));
        assert_eq!(b.claim(&user, Some(1)), Err(TooMany(1)));
        assert_eq!(b.claim(&"bob".into(), Some(1)), Ok(()));
        drop(a);
        assert_eq!(registry.open(peer()).claim(&user, Some(1)), Ok(()));
        drop(b);
        assert!(registry.inner.lock().users.is_empty());
    }

    #[tokio::test]
    async fn the_last_to_leave_wakes_who_waits() {
        let registry = Arc::new(Registry::default());
        let entry = registry.open(peer());
        let waiting = tokio::spawn({
            let registry = Arc::clone(&registry);
            async move { registry.wait_until_empty().await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(entry);
        waiting.await.unwrap();
    }
}
