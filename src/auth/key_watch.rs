//! The key file of a running server: looked at once per second, and read again when it has changed.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::key_entry::{Entry, filed};
use super::key_file::{self, KeyFileError};

/// Seconds for which the keys last read stay in force while the file cannot be used. After that none of them is accepted: a key
/// could have been revoked without the server being able to see it.
pub(super) const GRACE_S: i64 = 300;
/// Seconds between two log lines about the same failure.
const REPEAT_S: i64 = 60;

/// The keys of a file, kept up to date.
pub(super) struct WatchedKeys {
    path: PathBuf,
    entries: ArcSwap<Vec<Entry>>,
    /// Unix seconds of the last look at the file.
    looked: AtomicI64,
    state: Mutex<State>,
}

struct State {
    /// The version of the file that `entries` holds. Changes after a successful read only.
    read: Option<Stamp>,
    failing: Option<Failing>,
}

#[derive(Clone, Copy)]
struct Failing {
    /// Unix seconds of the first failure.
    since: i64,
    /// Unix seconds of the last log line.
    logged: i64,
}

/// One version of a file. Replacing it changes the inode, editing it or changing its mode the times.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let meta = std::fs::metadata(path).ok()?;
        Some(Self {
            device: meta.dev(),
            inode: meta.ino(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            changed: (meta.ctime(), meta.ctime_nsec()),
            size: meta.size(),
        })
    }
}

impl WatchedKeys {
    /// Reads the file for the first time.
    ///
    /// # Errors
    /// The file cannot be read or parsed: a server does not start without its keys.
    pub(super) fn open(path: PathBuf) -> Result<Self, KeyFileError> {
        let read = Stamp::of(&path);
        let entries = key_file::read(&path)?.into_iter().map(filed).collect();
        Ok(Self {
            path,
            entries: ArcSwap::from_pointee(entries),
            looked: AtomicI64::new(i64::MIN),
            state: Mutex::new(State { read, failing: None }),
        })
    }

    /// The keys in force at `now` (Unix seconds); `None` once the file has been unusable for longer than [`GRACE_S`].
    pub(super) fn current(&self, now: i64) -> Option<Arc<Vec<Entry>>> {
        self.look(now);
        let lost = self
            .failing_since()
            .is_some_and(|since| now.saturating_sub(since) >= GRACE_S);
        (!lost).then(|| self.entries.load_full())
    }

    /// Reads the file again if it has changed, or if the last attempt failed. Looks at it once per second at most.
    pub(super) fn look(&self, now: i64) {
        if self.looked.swap(now, Ordering::Relaxed) == now {
            return;
        }
        let mut state = self.state.lock();
        let stamp = Stamp::of(&self.path);
        if stamp == state.read && state.failing.is_none() {
            return;
        }
        match key_file::read(&self.path) {
            Ok(records) => {
                tracing::info!(keys = records.len(), "key file read again");
                self.entries
                    .store(Arc::new(records.into_iter().map(filed).collect()));
                *state = State {
                    read: stamp,
                    failing: None,
                };
            }
            Err(error) => {
                let failing = state.failing.get_or_insert(Failing {
                    since: now,
                    logged: i64::MIN,
                });
                if now.saturating_sub(failing.logged) >= REPEAT_S {
                    failing.logged = now;
                    tracing::error!(
                        %error,
                        since = failing.since,
                        "the key file cannot be used: revoked keys are still accepted, and after {GRACE_S} s no key of it is; \
                         make it readable to the server again"
                    );
                }
            }
        }
    }

    /// Unix seconds since which the file cannot be used.
    pub(super) fn failing_since(&self) -> Option<i64> {
        self.state.lock().failing.map(|failing| failing.since)
    }
}
