//! Keeps the auth server's key set: from a file, read once, or from a URL, fetched in the background. The last set is kept
//! while fetching fails.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use axum::http::Uri;
use axum::http::uri::Authority;
use tokio::sync::Mutex;

use super::jwks::{KeySet, KeySetError};

/// A set is fetched anew after this long, in seconds.
const FRESH_S: i64 = 600;
/// An unknown key id makes the server look again, at most this often, in seconds.
const MIN_INTERVAL_S: i64 = 60;
/// The same while there is no set at all, so that an auth server that starts a moment later is found at once.
pub(super) const FIRST_INTERVAL_S: u32 = 2;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_SET_BYTES: u64 = 256 * 1024;

/// Why there is no key set.
#[derive(Debug, thiserror::Error)]
pub enum KeySourceError {
    #[error("cannot read the key set {path}: {source}", path = path.display())]
    File { path: PathBuf, source: std::io::Error },
    #[error("{0}")]
    Set(#[from] KeySetError),
    #[error("cannot fetch the key set: {0}")]
    Fetch(String),
    #[error("jwks_url is {0:?}: {1}")]
    Url(String, &'static str),
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
    /// Reads a set that does not change.
    ///
    /// # Errors
    /// The text is no key set, or holds no usable key.
    pub fn from_text(text: &str) -> Result<Self, KeySourceError> {
        Ok(Self::new(Some(Arc::new(KeySet::parse(text)?)), None))
    }

    /// Reads a set that does not change from a file.
    ///
    /// # Errors
    /// The file cannot be read, is no key set, or holds no usable key.
    pub fn from_file(path: PathBuf) -> Result<Self, KeySourceError> {
        let text = std::fs::read_to_string(&path).map_err(|source| KeySourceError::File { path, source })?;
        Self::from_text(&text)
    }

    /// Makes a source that fetches the set when it is first needed.
    ///
    /// # Errors
    /// The text is no URL, names a user, or would fetch the keys in the clear from another machine.
    pub fn from_url(url: &str) -> Result<Self, KeySourceError> {
        check_url(url).map_err(|why| KeySourceError::Url(url.to_owned(), why))?;
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

    /// Returns the set as it is now; `None` before the first fetch.
    pub fn current(&self) -> Option<Arc<KeySet>> {
        self.set.load_full()
    }

    /// Returns how the fetching goes, for the metrics.
    pub fn state(&self) -> KeySetState {
        KeySetState {
            keys: self.set.load().as_ref().map_or(0, |set| set.len()),
            fetched_at: self.fetched.load(Ordering::Relaxed),
            fetches: self.fetches.load(Ordering::Relaxed),
            failures: self.failures.load(Ordering::Relaxed),
        }
    }

    /// Returns whether the set is old enough to be fetched again. Nobody has to wait for that.
    pub fn is_stale(&self, now: i64) -> bool {
        self.url.is_some() && now.saturating_sub(self.tried.load(Ordering::Acquire)) >= FRESH_S
    }

    /// Fetches the set unless that was tried within the last minute, or the last moment while there is none. Callers that come
    /// together share one fetch.
    pub async fn refresh(&self, now: i64) {
        let Some(url) = &self.url else { return };
        let _one = self.one_at_a_time.lock().await;
        let interval = if self.set.load().is_some() {
            MIN_INTERVAL_S
        } else {
            i64::from(FIRST_INTERVAL_S)
        };
        if now.saturating_sub(self.tried.load(Ordering::Acquire)) < interval {
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
                let kept = self.set.load().is_some();
                tracing::warn!(
                    %error,
                    kept,
                    "key set not fetched; the next request in {interval} s or later tries again"
                );
            }
        }
    }
}

// Read by the parser that the fetching uses, so that both mean the same host.
fn check_url(url: &str) -> Result<(), &'static str> {
    let uri: Uri = url
        .parse()
        .map_err(|_| "that is no URL such as https://app.example.com/api/auth/jwks")?;
    let authority = uri.authority().map_or("", Authority::as_str);
    if authority.contains('@') {
        return Err("a user or password before the host is not taken");
    }
    let local = matches!(uri.host(), Some("localhost" | "127.0.0.1" | "[::1]"));
    match uri.scheme_str() {
        Some("https") => Ok(()),
        Some("http") if local => Ok(()),
        _ => Err("it must be https, or http on this machine: keys fetched in the clear could be anyone's"),
    }
}

fn fetch(url: &str) -> Result<KeySet, KeySourceError> {
    let agent: ureq::Agent = ureq::Agent::config_builder()
        .timeout_global(Some(FETCH_TIMEOUT))
        .max_redirects(0)
        .proxy(None)
        .build()
        .into();
    let failed = |error: ureq::Error| KeySourceError::Fetch(error.to_string());
    let mut response = agent.get(url).call().map_err(failed)?;
    if !response.status().is_success() {
        return Err(KeySourceError::Fetch(format!("status {}", response.status())));
    }
    let body = response.body_mut().with_config().limit(MAX_SET_BYTES);
    let text = body.read_to_string().map_err(failed)?;
    Ok(KeySet::parse(&text)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_over_https_or_from_this_machine_and_no_user_hides_the_host() {
        for good in [
            "https://app.example/api/auth/jwks",
            "http://localhost:3000/api/auth/jwks",
            "http://127.0.0.1/jwks?x=1",
            "http://[::1]:3000/jwks",
        ] {
            assert!(KeySource::from_url(good).is_ok(), "{good}");
        }
        for bad in [
            "http://app.example/jwks",
            "http://localhost:80@192.0.2.1/jwks",
            "http://localhost@192.0.2.1/jwks",
            "https://user:secret@app.example/jwks",
            "http://localhost.evil.test/jwks",
            "http://192.0.2.1\\@localhost/jwks",
            "ftp://localhost/jwks",
            "localhost:3000/jwks",
            "/jwks",
            "nowhere",
        ] {
            assert!(
                matches!(KeySource::from_url(bad), Err(KeySourceError::Url(..))),
                "{bad}"
            );
        }
    }
}
