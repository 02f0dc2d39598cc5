//! API keys: from the environment, the configuration, and a file of hashed keys that is read again when it changes.

use std::path::PathBuf;
use std::sync::Arc;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use super::identity::{Method, Principal, Scope};
use super::key_entry::{Digest256, Entry, words};
use super::key_file::KeyFileError;
use super::key_watch::WatchedKeys;
use super::reason::Reason;

/// Keys of fewer bytes than this could be guessed by trying; an address that fails too often may not try them.
const GUESSABLE_BELOW: usize = 16;
/// Longest key in bytes; anything longer is refused unread.
const MAX_KEY_BYTES: usize = 4096;

/// Result of a key lookup.
pub(super) struct Found {
    pub principal: Principal,
    pub guessable: bool,
}

/// All keys, compared in constant time.
pub(super) struct ApiKeys {
    fixed: Vec<Entry>,
    file: Option<Arc<WatchedKeys>>,
}

impl ApiKeys {
    /// Takes keys in plain text (trimmed, empty ones dropped) and reads a file of hashed ones.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
    pub(super) fn new(
        plain: impl IntoIterator<Item = String>,
        file: Option<PathBuf>,
    ) -> Result<Self, KeyFileError> {
        let fixed: Vec<Entry> = plain
            .into_iter()
            .map(|key| key.trim().to_owned())
            .filter(|key| !key.is_empty())
            .map(|key| fixed(&key))
            .collect();
        let file = file.map(WatchedKeys::open).transpose()?.map(Arc::new);
        Ok(Self { fixed, file })
    }

    /// Returns the file of hashed keys, if one is configured.
    pub(super) fn file(&self) -> Option<Arc<WatchedKeys>> {
        self.file.clone()
    }

    /// Returns whether no key is configured.
    pub(super) fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.file.is_none()
    }

    /// Counts the plain keys that are short enough to guess.
    pub(super) fn guessable(&self) -> usize {
        self.fixed.iter().filter(|entry| entry.guessable).count()
    }

    /// Looks `candidate` up among all keys at `now` (Unix seconds), in a time that does not depend on which one matches.
    ///
    /// # Errors
    /// The candidate is no key, the key has expired, or the key file could not be used for so long that its keys do not count.
    pub(super) fn find(&self, candidate: &str, now: i64) -> Result<Found, Reason> {
        if candidate.len() > MAX_KEY_BYTES {
            return Err(Reason::WrongKey);
        }
        let digest = digest(candidate);
        let from_file = self.file.as_ref().map(|file| file.current(now));
        let filed = from_file.as_ref().and_then(Option::as_ref);
        let entries = || {
            self.fixed
                .iter()
                .chain(filed.into_iter().flat_map(|entries| entries.iter()))
        };
        let mut at = u32::MAX;
        for (i, entry) in entries().enumerate() {
            at.conditional_assign(&(i as u32), same(&entry.digest, &digest));
        }
        let unknown = match from_file {
            Some(None) => Reason::KeysUnavailable,
            _ => Reason::WrongKey,
        };
        let entry = entries().nth(at as usize).ok_or(unknown)?;
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

// Compares all words, whichever differs, so that the time says nothing.
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
        Arc::new(Scope::CLIENT),
    );
    Entry {
        digest,
        guessable: key.len() < GUESSABLE_BELOW,
        expires_at: None,
        principal,
    }
}

#[cfg(test)]
mod tests {
    use super::super::key_file;
    use super::super::key_watch::GRACE_S;
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
    fn a_file_that_could_not_be_read_is_tried_again_without_a_further_change() {
        let dir = tempfile::tempdir().unwrap();
        let (path, aside) = (dir.path().join("keys.toml"), dir.path().join("aside"));
        let key = key_file::create(&path, key_file::NewKey::named("carol"), 0).unwrap();
        let keys = ApiKeys::new([], Some(path.clone())).unwrap();
        let file = keys.file().unwrap();
        key_file::revoke(&path, "carol").unwrap();
        // Something else stands in the file's place while the server looks.
        std::fs::rename(&path, &aside).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(keys.find(key.expose(), 1).is_ok());
        assert_eq!(file.failing_since(), Some(1));
        std::fs::remove_dir(&path).unwrap();
        std::fs::rename(&aside, &path).unwrap();
        assert_eq!(keys.find(key.expose(), 2).err(), Some(Reason::WrongKey));
        assert_eq!(file.failing_since(), None);
    }

    #[test]
    fn the_keys_of_a_deleted_file_count_for_a_while_and_then_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let key = key_file::create(&path, key_file::NewKey::named("carol"), 0).unwrap();
        let keys = ApiKeys::new(["another-key-of-the-environment".to_owned()], Some(path.clone())).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(keys.find(key.expose(), 10).is_ok());
        assert!(keys.find(key.expose(), 10 + GRACE_S - 1).is_ok());
        let later = 10 + GRACE_S;
        assert_eq!(
            keys.find(key.expose(), later).err(),
            Some(Reason::KeysUnavailable)
        );
        assert!(keys.find("another-key-of-the-environment", later).is_ok());
        assert_eq!(keys.file().unwrap().failing_since(), Some(10));
    }

    #[test]
    fn a_key_of_the_file_expires_and_carries_its_limits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let new = key_file::NewKey {
            expires_at: Some(100),
            max_sessions: Some(2),
            minutes_per_day: Some(5),
            ..key_file::NewKey::named("k")
        };
        let key = key_file::create(&path, new, 0).unwrap();
        let keys = ApiKeys::new([], Some(path)).unwrap();
        let found = keys.find(key.expose(), 99).unwrap().principal;
        assert_eq!(
            (&*found.subject, found.limits.max_sessions, found.expires_at),
            ("key:k", Some(2), Some(100))
        );
        assert_eq!(keys.find(key.expose(), 100).err(), Some(Reason::Expired));
    }
}
