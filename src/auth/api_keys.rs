//! API keys: from the environment, the configuration, and a file of hashed keys that is read again when it changes.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::identity::{Method, Principal, PrincipalLimits, Scope};
use super::key_file::{self, KeyFileError, KeyRecord};
use super::reason::Reason;

/// Keys of fewer bytes than this could be guessed by trying; an address that fails too often may not try them.
const GUESSABLE_BELOW: usize = 16;
/// Longer ones are no keys.
const MAX_KEY_BYTES: usize = 4096;

/// A SHA-256 digest as words: comparing bytes one by one costs ten times as much.
type Digest256 = [u64; 4];

struct Entry {
    digest: Digest256,
    guessable: bool,
    expires_at: Option<i64>,
    principal: Principal,
}

/// What came of looking a key up.
pub(super) struct Found {
    pub principal: Principal,
    pub guessable: bool,
}

/// All keys, compared in constant time.
pub struct ApiKeys {
    fixed: Vec<Entry>,
    file: Option<KeyFile>,
}

struct KeyFile {
    path: PathBuf,
    entries: ArcSwap<Vec<Entry>>,
    looked: AtomicI64,
    seen: Mutex<Option<(SystemTime, u64)>>,
}

impl ApiKeys {
    /// Keys in plain text (trimmed, empty ones dropped) and a file of hashed ones.
    pub fn new(plain: impl IntoIterator<Item = String>, file: Option<PathBuf>) -> Result<Self, KeyFileError> {
        let fixed: Vec<Entry> = plain
            .into_iter()
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty())
            .map(|key| fixed(&key))
            .collect();
        let file = file.map(KeyFile::open).transpose()?;
        Ok(Self { fixed, file })
    }

    /// Whether there is nothing a key could match.
    pub fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.file.is_none()
    }

    /// Number of plain keys short enough to guess.
    pub fn guessable(&self) -> usize {
        self.fixed.iter().filter(|entry| entry.guessable).count()
    }

    /// Looks `candidate` up among all keys at `now` (Unix seconds): the time taken does not depend on which one it is.
    pub(super) fn find(&self, candidate: &str, now: i64) -> Result<Found, Reason> {
        if candidate.len() > MAX_KEY_BYTES {
            return Err(Reason::WrongKey);
        }
        let digest = digest(candidate);
        let from_file = self.file.as_ref().map(|file| file.current(now));
        let entries = || {
            self.fixed
                .iter()
                .chain(from_file.iter().flat_map(|entries| entries.iter()))
        };
        let mut at = u32::MAX;
        for (i, entry) in entries().enumerate() {
            at.conditional_assign(&(i as u32), same(&entry.digest, &digest));
        }
        let entry = entries().nth(at as usize).ok_or(Reason::WrongKey)?;
        if entry.expires_at.is_some_and(|end| end <= now) {
            return Err(Reason::Expired);
        }
        let mut principal = entry.principal.clone();
        principal.expires_at = entry.expires_at;
        Ok(Found {
            principal,
            guessable: entry.guessable,
        })
    }
}

fn digest(key: &str) -> Digest256 {
    words(&Sha256::digest(key.as_bytes()).into())
}

fn words(bytes: &[u8; 32]) -> Digest256 {
    let (words, _) = bytes.as_chunks::<8>();
    std::array::from_fn(|i| u64::from_be_bytes(words[i]))
}

// Every word is looked at, whichever differs.
fn same(a: &Digest256, b: &Digest256) -> Choice {
    let differences = a.iter().zip(b).fold(0, |seen, (a, b)| seen | (a ^ b));
    differences.ct_eq(&0)
}

fn fixed(key: &str) -> Entry {
    let digest = digest(key);
    // Named by its digest: the key itself must not appear in logs and metrics.
    let principal = Principal::new(
        format!("key:{:08x}", digest[0] >> 32).into(),
        Method::ApiKey,
        Arc::new([Scope::Listen]),
    );
    Entry {
        digest,
        guessable: key.len() < GUESSABLE_BELOW,
        expires_at: None,
        principal,
    }
}

fn filed(record: KeyRecord) -> Entry {
    let mut principal = Principal::new(
        format!("key:{}", record.name).into(),
        Method::ApiKey,
        record.scopes.into(),
    );
    principal.limits = PrincipalLimits {
        max_sessions: record.max_sessions,
        minutes_per_day: record.minutes_per_day,
    };
    Entry {
        digest: words(&record.sha256.0),
        guessable: false,
        expires_at: record.expires_at,
        principal,
    }
}

impl KeyFile {
    fn open(path: PathBuf) -> Result<Self, KeyFileError> {
        let seen = stamp(&path);
        let entries = key_file::read(&path)?.into_iter().map(filed).collect();
        Ok(Self {
            path,
            entries: ArcSwap::from_pointee(entries),
            looked: AtomicI64::new(i64::MIN),
            seen: Mutex::new(seen),
        })
    }

    // Looks at the file once a second at most. A broken file keeps the keys that were.
    fn current(&self, now: i64) -> Arc<Vec<Entry>> {
        if self.looked.swap(now, Ordering::Relaxed) != now {
            let mut seen = self.seen.lock();
            let stamp = stamp(&self.path);
            if stamp != *seen {
                *seen = stamp;
                match key_file::read(&self.path) {
                    Ok(records) => {
                        tracing::info!(keys = records.len(), "key file read again");
                        self.entries
                            .store(Arc::new(records.into_iter().map(filed).collect()));
                    }
                    Err(error) => {
                        tracing::error!(%error, "key file changed but cannot be used; the former keys stay")
                    }
                }
            }
        }
        self.entries.load_full()
    }
}

fn stamp(path: &std::path::Path) -> Option<(SystemTime, u64)> {
    let meta = std::fs::metadata(path).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(plain: &[&str]) -> ApiKeys {
        ApiKeys::new(plain.iter().map(|k| (*k).to_owned()), None).unwrap()
    }

    #[test]
    fn trap_empty_entries_do_not_make_the_empty_string_a_key() {
        let keys = keys(&["a", "", "  ", " b "]);
        assert!(keys.find("", 0).is_err());
        assert!(keys.find("a", 0).is_ok() && keys.find("b", 0).is_ok(), "trimmed");
        assert!(keys.find(" b ", 0).is_err());
    }

    #[test]
    fn a_digest_is_the_same_only_in_all_its_words() {
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert!(bool::from(same(&words(&bytes), &words(&bytes))));
        for i in 0..32 {
            let mut other = bytes;
            other[i] ^= 0x80;
            assert!(!bool::from(same(&words(&bytes), &words(&other))), "byte {i}");
        }
    }

    #[test]
    fn each_key_is_its_own_subject_and_never_named_in_clear() {
        let keys = keys(&["public_token", "another-key"]);
        let (a, b) = (
            keys.find("public_token", 0).unwrap(),
            keys.find("another-key", 0).unwrap(),
        );
        assert_ne!(a.principal.subject, b.principal.subject);
        assert!(!a.principal.subject.contains("public_token"));
        assert!(a.guessable);
    }

    #[test]
    fn the_file_is_read_again_when_it_changes_and_kept_when_it_breaks() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let first = key_file::create(&path, key_file::NewKey::named("first"), 0).unwrap();
        let keys = ApiKeys::new([], Some(path.clone())).unwrap();
        assert!(keys.find(first.expose(), 1).is_ok());
        let second = key_file::create(&path, key_file::NewKey::named("second"), 0).unwrap();
        assert!(keys.find(second.expose(), 2).is_ok());
        key_file::revoke(&path, "first").unwrap();
        assert!(keys.find(first.expose(), 3).is_err());
        std::fs::write(&path, "not [ toml").unwrap();
        assert!(keys.find(second.expose(), 4).is_ok());
    }

    #[test]
    fn a_key_of_the_file_expires_and_carries_its_limits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let wish = key_file::NewKey {
            expires_at: Some(100),
            max_sessions: Some(2),
            minutes_per_day: Some(5),
            ..key_file::NewKey::named("k")
        };
        let key = key_file::create(&path, wish, 0).unwrap();
        let keys = ApiKeys::new([], Some(path)).unwrap();
        let found = keys.find(key.expose(), 99).unwrap().principal;
        assert_eq!(
            (&*found.subject, found.limits.max_sessions, found.expires_at),
            ("key:k", Some(2), Some(100))
        );
        assert_eq!(keys.find(key.expose(), 100).err(), Some(Reason::Expired));
    }
}
