//! The file of hashed API keys. Keys are 32 random bytes, so one round of SHA-256 hides them.

use std::fmt;
use std::io::Write;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::identity::Scope;
use super::presented::Credential;

/// Starts every key made here, so that scanners of code and logs can find a leaked one.
const PREFIX: &str = "msk_";
const MAX_FILE_BYTES: u64 = 16 * 1024 * 1024;

/// A mistake with the file of keys.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("cannot use the key file {path}: {source}", path = path.display())]
    Io { path: PathBuf, source: std::io::Error },
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

#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, rename = "key")]
    keys: Vec<KeyRecord>,
}

/// A key to be made.
#[derive(Clone, Debug)]
pub struct NewKey {
    pub name: String,
    pub scopes: Vec<Scope>,
    pub expires_at: Option<i64>,
    pub max_sessions: Option<u32>,
    pub minutes_per_day: Option<u32>,
}

impl NewKey {
    /// A key that may listen, without limits.
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            scopes: vec![Scope::Listen],
            expires_at: None,
            max_sessions: None,
            minutes_per_day: None,
        }
    }
}

/// Reads all keys of the file.
pub fn read(path: &Path) -> Result<Vec<KeyRecord>, KeyFileError> {
    let io = |source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    };
    let form = |message: String| KeyFileError::Form {
        path: path.to_owned(),
        message,
    };
    if std::fs::metadata(path).map_err(io)?.len() > MAX_FILE_BYTES {
        return Err(form(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    let text = std::fs::read_to_string(path).map_err(io)?;
    let document: Document = toml::from_str(&text).map_err(|e| form(e.message().to_owned()))?;
    Ok(document.keys)
}

/// Makes a key, adds it to the file (which may not exist yet) and returns it: the only time it can be seen.
pub fn create(path: &Path, wish: NewKey, now: i64) -> Result<Credential, KeyFileError> {
    let named = |c: char| c.is_ascii_alphanumeric() || "-_.@".contains(c);
    if wish.name.is_empty() || wish.name.len() > 64 || !wish.name.chars().all(named) {
        return Err(KeyFileError::Name(wish.name));
    }
    let mut keys = if path.exists() { read(path)? } else { Vec::new() };
    if keys.iter().any(|key| key.name == wish.name) {
        return Err(KeyFileError::Taken(wish.name));
    }
    let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
    keys.push(KeyRecord {
        name: wish.name,
        sha256: KeyDigest(Sha256::digest(key.as_bytes()).into()),
        scopes: wish.scopes,
        created_at: now,
        expires_at: wish.expires_at,
        max_sessions: wish.max_sessions,
        minutes_per_day: wish.minutes_per_day,
    });
    write(path, keys)?;
    Ok(Credential::from(key))
}

/// Removes the key named `name`.
pub fn revoke(path: &Path, name: &str) -> Result<(), KeyFileError> {
    let mut keys = read(path)?;
    let before = keys.len();
    keys.retain(|key| key.name != name);
    if keys.len() == before {
        return Err(KeyFileError::Unknown(name.to_owned()));
    }
    write(path, keys)
}

// A reader sees the old file or the new one, never half of it; only the owner may read it.
fn write(path: &Path, keys: Vec<KeyRecord>) -> Result<(), KeyFileError> {
    let io = |source| KeyFileError::Io {
        path: path.to_owned(),
        source,
    };
    let text = toml::to_string(&Document { keys }).map_err(|e| KeyFileError::Form {
        path: path.to_owned(),
        message: e.to_string(),
    })?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(format!(".{:08x}", rand::random::<u32>()));
    let beside = PathBuf::from(beside);
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(&beside).map_err(io)?;
    let written = file
        .write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .and_then(|()| std::fs::rename(&beside, path));
    written.map_err(|source| {
        // The error to report is the first one; the leftover is only untidy.
        let _ = std::fs::remove_file(&beside);
        io(source)
    })
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
}
