//! The file of hashed API keys. Keys are 32 random bytes, so one round of SHA-256 hides them.

use std::fmt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::file_swap::{Locked, SwapError};
use super::identity::Scope;
use crate::stream::secret::Secret;

/// Starts every key made here, so that scanners of code and logs can find a leaked one.
const PREFIX: &str = "msk_";
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// A mistake with the file of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot use the key file {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
    #[error("the key file {path} was not changed: {source}", path = path.display())]
    Replace { path: PathBuf, source: SwapError },
    #[error("the key file {path} is not valid: {message}. Restore it, or make keys anew with `moshi-server keys create`", path = path.display())]
    Form { path: PathBuf, message: String },
    #[error("the key file already has a key named {0:?}: choose another name, or revoke that one first")]
    Taken(String),
    #[error("a key's name has 1 to 64 letters, digits, `-`, `_`, `.` or `@`; {0:?} has not")]
    Name(String),
    #[error("the key file has no key named {0:?}: see `moshi-server keys list`")]
    Unknown(String),
}

/// SHA-256 of a key, hexadecimal in the file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct KeyDigest(pub(super) [u8; 32]);

impl Serialize for KeyDigest {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_str(&self.0.iter().map(|b| format!("{b:02x}")).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for KeyDigest {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        let wrong = || serde::de::Error::custom("sha256 must be 64 hexadecimal digits");
        if text.len() != 64 || !text.is_ascii() {
            return Err(wrong());
        }
        let mut digest = [0; 32];
        for (i, byte) in digest.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * i..2 * i + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(digest))
    }
}

impl fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// One key of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyRecord {
    pub name: String,
    pub sha256: KeyDigest,
    #[serde(default = "listen")]
    pub scopes: Vec<Scope>,
    /// Unix seconds.
    pub created_at: i64,
    /// Unix seconds; absent for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minutes_per_day: Option<u32>,
}

fn listen() -> Vec<Scope> {
    vec![Scope::Listen]
}

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "key")]
    keys: Vec<KeyRecord>,
}

/// What a new key is to be.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<i64>,
    pub max_sessions: Option<u32>,
    pub minutes_per_day: Option<u32>,
}

impl NewKey {
    /// Returns a key that may listen, without limits.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scopes: listen(),
            expires_at: None,
            max_sessions: None,
            minutes_per_day: None,
        }
    }
}

/// Reads all keys of the file.
///
/// # Errors
/// The file cannot be read, is too big, or is not what `moshi-server keys` writes.
pub fn read(path: &Path) -> Result<Vec<KeyRecord>, KeyFileError> {
    let form = |message: String| KeyFileError::Form {
        path: path.to_owned(),
        message,
    };
    if std::fs::metadata(path).map_err(io(path))?.len() > MAX_FILE_BYTES {
        return Err(form(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(io(path))?;
    let document: Document = toml::from_str(&text).map_err(|e| form(e.message().to_owned()))?;
    Ok(document.keys)
}

/// Makes a key, adds it to the file (which may not exist yet) and returns it: the only time it can be seen.
///
/// # Errors
/// The name is taken or is no name, or the file cannot be read or replaced.
pub fn create(path: &Path, new: NewKey, now: i64) -> Result<Secret, KeyFileError> {
    let named = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if new.name.is_empty() || new.name.len() > 64 || !new.name.chars().all(named) {
        return Err(KeyFileError::Name(new.name));
    }
    let locked = Locked::wait(path, true).map_err(io(path))?;
    let mut keys = read(path)?;
    if keys.iter().any(|key| key.name == new.name) {
        return Err(KeyFileError::Taken(new.name));
    }
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    keys.push(KeyRecord {
        name: new.name,
        sha256: KeyDigest(Sha256::digest(key.as_bytes()).into()),
        scopes: new.scopes,
        created_at: now,
        expires_at: new.expires_at,
        max_sessions: new.max_sessions,
        minutes_per_day: new.minutes_per_day,
    });
    write(&locked, path, keys)?;
    Ok(Secret::from(key))
}

/// Removes the key named `name`.
///
/// # Errors
/// There is no such key, or the file cannot be read or replaced.
pub fn revoke(path: &Path, name: &str) -> Result<(), KeyFileError> {
    let locked = Locked::wait(path, false).map_err(io(path))?;
    let mut keys = read(path)?;
    let before = keys.len();
    keys.retain(|key| key.name != name);
    if keys.len() == before {
        return Err(KeyFileError::Unknown(name.to_owned()));
    }
    write(&locked, path, keys)
}

fn write(locked: &Locked, path: &Path, keys: Vec<KeyRecord>) -> Result<(), KeyFileError> {
    let text = toml::to_string(&Document { keys }).map_err(|e| KeyFileError::Form {
        path: path.to_owned(),
        message: e.to_string(),
    })?;
    locked.replace(&text).map_err(|source| KeyFileError::Replace {
        path: path.to_owned(),
        source,
    })
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> KeyFileError + '_ {
    |source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_never_holds_the_key() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        let key = create(&path, NewKey::named("alice"), 7).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(key.expose().starts_with("msk_") && key.expose().len() == 47);
        assert!(!text.contains(key.expose()) && text.contains("alice"));
        #[cfg(unix)]
        assert_eq!(
            std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions()) & 0o777,
            0o600
        );
    }

    #[test]
    fn names_are_unique_and_plain() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        create(&path, NewKey::named("a"), 0).unwrap();
        assert!(matches!(
            create(&path, NewKey::named("a"), 0),
            Err(KeyFileError::Taken(_))
        ));
        assert!(matches!(
            create(&path, NewKey::named("a b"), 0),
            Err(KeyFileError::Name(_))
        ));
        assert!(matches!(revoke(&path, "b"), Err(KeyFileError::Unknown(_))));
    }

    #[cfg(unix)]
    #[test]
    fn a_replaced_file_keeps_its_mode_and_a_link_to_it_stays_a_link() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (path, link) = (dir.path().join("keys.toml"), dir.path().join("link.toml"));
        create(&path, NewKey::named("a"), 0).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        create(&link, NewKey::named("b"), 0).unwrap();
        revoke(&link, "a").unwrap();
        assert_eq!(
            std::fs::metadata(&path).unwrap().permissions().mode() & 0o7777,
            0o640
        );
        assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(read(&path).unwrap()[0].name, "b");
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            2,
            "nothing is left over"
        );
    }

    #[test]
    fn changes_made_at_the_same_time_are_all_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.toml");
        for n in 0..16 {
            create(&path, NewKey::named(&format!("old{n}")), 0).unwrap();
        }
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let path = &path;
                scope.spawn(move || {
                    for n in 0..4 {
                        create(path, NewKey::named(&format!("new{thread}.{n}")), 0).unwrap();
                        revoke(path, &format!("old{}", thread * 4 + n)).unwrap();
                    }
                });
            }
        });
        let names: Vec<String> = read(&path).unwrap().into_iter().map(|key| key.name).collect();
        assert_eq!(names.len(), 16, "{names:?}");
        assert!(names.iter().all(|name| name.starts_with("new")), "{names:?}");
    }
}
