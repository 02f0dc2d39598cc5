//! Keeping the auth server's key set: from a file once, or from a URL, fetched in the background. A set once had is kept
//! while fetching fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;

use super::jwks::{KeySet, KeySetError};

/// A set is fetched anew after this long, in seconds.
const FRESH_S: i64 = 600;
/// An unknown key id makes us look again, at most this often, in seconds.
const MIN_INTERVAL_S: i64 = 60;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_SET_BYTES: u64 = 256 * 1024;

/// A mistake in where the key set comes from.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    #[error("cannot read the key set {path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Set(#[from] KeySetError),
    #[error("cannot fetch the key set: {0}")]
    Fetch(String),
    #[error("jwks_url must be https, or http on this machine: keys fetched in the clear could be anyone's")]
    Insecure,
}

/// The current key set.
pub struct KeySource {
    set: ArcSwapOption<KeySet>,
    url: Option<String>,
    /// Unix seconds of the last attempt.
    tried: AtomicI64,
    /// Unix seconds of the last success.
    fetched: AtomicI64,
    fetches: AtomicU64,
    failures: AtomicU64,
    one_at_a_time: Mutex<()>,
}

/// How the fetching goes.
#[derive(Clone, Copy, Debug)]
pub struct KeySetState {
    pub keys: usize,
    /// Unix seconds; 0 for a set that was never fetched, such as one from a file.
    pub fetched_at: i64,
    pub fetches: u64,
    pub failures: u64,
}

impl KeySource {
    /// A set that does not change.
    pub fn from_text(text: &str) -> Result<Self, KeySourceError> {
        Ok(Self::new(Some(Arc::new(KeySet::parse(text)?)), None))
    }

    pub fn from_file(path: PathBuf) -> Result<Self, KeySourceError> {
        let text = std::fs::read_to_string(&path).map_err(|source| KeySourceError::File { path, source })?;
        Self::from_text(&text)
    }

    /// A set to be fetched when it is first needed.
    pub fn from_url(url: &str) -> Result<Self, KeySourceError> {
        let local = url.strip_prefix("http://").is_some_and(|rest| {
            let host = rest.split(['/', '?']).next().unwrap_or_default();
            ["localhost", "127.0.0.1", "[::1]"]
                .iter()
                .any(|name| host == *name || host.starts_with(&format!("{name}:")))
        });
        if !url.starts_with("https://") && !local {
            return Err(KeySourceError::Insecure);
        }
        Ok(Self::new(None, Some(url.to_owned())))
    }

    fn new(set: Option<Arc<KeySet>>, url: Option<String>) -> Self {
        Self {
            set: ArcSwapOption::new(set),
            url,
            tried: AtomicI64::new(i64::MIN),
            fetched: AtomicI64::new(0),
            fetches: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            one_at_a_time: Mutex::new(()),
        }
    }

    /// The set as it is now; `None` before the first fetch.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.set.load_full()
    }

    /// For the metrics.
    pub fn state(&self) -> KeySetState {
        KeySetState {
            keys: self.set.load().as_ref().map_or(0, |set| set.len()),
            fetched_at: self.fetched.load(Ordering::Relaxed),
            fetches: self.fetches.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// Whether the set's age calls for a fetch; nobody need wait for it.
    pub fn is_stale(&self, now: i64) -> bool {
        self.url.is_some() && now.saturating_sub(self.tried.load(Ordering::Acquire)) >= FRESH_S
    }

    /// Fetches the set unless that was tried within the last minute. Callers that come together share one fetch.
    pub async fn refresh(&self, now: i64) {
        let Some(url) = &self.url else { return };
        let _one = self.one_at_a_time.lock().await;
        if now.saturating_sub(self.tried.load(Ordering::Acquire)) < MIN_INTERVAL_S {
            return;
        }
        self.tried.store(now, Ordering::Release);
        let url = url.clone();
        let fetched = tokio::task::spawn_blocking(move || fetch(&url)).await;
        match fetched.unwrap_or_else(|panic| Err(KeySourceError::Fetch(panic.to_string()))) {
            Ok(set) => {
                tracing::info!(keys = set.len(), "key set fetched");
                self.fetches.fetch_add(1, Ordering::Relaxed);
                self.fetched.store(now, Ordering::Relaxed);
                self.set.store(Some(Arc::new(set)));
            }
            Err(error) => {
                self.failures.fetch_add(1, Ordering::Relaxed);
                tracing::warn!(%error, kept = self.set.load().is_some(), "key set not fetched; trying again in a minute");
            }
        }
    }
}

fn fetch(url: &str) -> Result<KeySet, KeySourceError> {
    let agent = ureq::AgentBuilder::new()
        .timeout(FETCH_TIMEOUT)
        .redirects(0)
        .build();
    let response = agent
        .get(url)
        .call()
        .map_err(|e| KeySourceError::Fetch(e.kind().to_string()))?;
    let mut text = String::new();
    let mut body = std::io::Read::take(response.into_reader(), MAX_SET_BYTES);
    std::io::Read::read_to_string(&mut body, &mut text).map_err(|e| KeySourceError::Fetch(e.to_string()))?;
    Ok(KeySet::parse(&text)?)
}
