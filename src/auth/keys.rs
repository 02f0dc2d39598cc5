//! API keys for programs: static ones from the environment and the configuration, hashed ones from a file.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rand::RngExt;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// What every key made here starts with, so that scanners and people recognise one.
const PREFIX: &str = "msk_";

type Hash = [u8; 32];

/// What a key may do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Unique, shown in listings and logs in place of the key.
    pub name: String,
    /// SHA-256 of the key, hexadecimal. Keys are 256 random bits, so a fast hash loses nothing.
    pub sha256: String,
    /// `transcribe`, `admin`; a key made without any has `transcribe`.
    #[serde(default)]
    pub scopes: BTreeSet<String>,
    /// Sessions at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_sessions: Option<u32>,
    /// Minutes of sessions a day (UTC).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub minutes_per_day: Option<u32>,
    /// Unix seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<i64>,
}

/// The keys file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: std::io::Error },
    #[error("{path} is not a keys file: {reason}")]
    Format { path: PathBuf, reason: String },
    #[error("there is already a key named `{0}`")]
    Taken(String),
    #[error("there is no key named `{0}`; `moshi-server keys list` shows all")]
    Unknown(String),
}

/// A keys file: a JSON list of [`KeyRecord`], written whole and renamed into place.
#[derive(Clone, Debug)]
pub struct KeyFile(PathBuf);

impl KeyFile {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// All records; a file that does not exist holds none.
    pub fn list(&self) -> Result<Vec<KeyRecord>, KeyFileError> {
        let text = match fs::read_to_string(&self.0) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(|source| self.io(source))?,
        };
        let wrong = |reason: String| KeyFileError::Format { path: self.0.clone(), reason };
        let records: Vec<KeyRecord> = serde_json::from_str(&text).map_err(|e| wrong(e.to_string()))?;
        match records.iter().find(|r| hash_of_hex(&r.sha256).is_none()) {
            Some(bad) => Err(wrong(format!("the sha256 of `{}` is not 64 hexadecimal digits", bad.name))),
            None => Ok(records),
        }
    }

    /// Adds a record with a new random key and returns the key, which is shown once and stored nowhere.
    pub fn create(&self, record: KeyRecord) -> Result<String, KeyFileError> {
        let mut records = self.list()?;
        if records.iter().any(|r| r.name == record.name) {
            return Err(KeyFileError::Taken(record.name));
        }
        let key = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::rng().random::<[u8; 32]>()));
        let sha256 = hash(key.as_bytes()).iter().map(|b| format!("{b:02x}")).collect();
        records.push(KeyRecord { sha256, ..record });
        self.write(&records)?;
        Ok(key)
    }

    /// Removes the record named `name`.
    pub fn revoke(&self, name: &str) -> Result<(), KeyFileError> {
        let mut records = self.list()?;
        let before = records.len();
        records.retain(|r| r.name != name);
        if records.len() == before {
            return Err(KeyFileError::Unknown(name.to_owned()));
        }
        self.write(&records)
    }

    fn write(&self, records: &[KeyRecord]) -> Result<(), KeyFileError> {
        let text = serde_json::to_string_pretty(records)
            .map_err(|e| KeyFileError::Format { path: self.0.clone(), reason: e.to_string() })?;
        let folder = self.0.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary = folder.join(format!(".keys-{}", std::process::id()));
        let write = || -> std::io::Result<()> {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut file = options.open(&temporary)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&temporary, &self.0)
        };
        write().map_err(|source| self.io(source))
    }

    fn modified(&self) -> Option<SystemTime> {
        fs::metadata(&self.0).and_then(|m| m.modified()).ok()
    }

    fn io(&self, source: std::io::Error) -> KeyFileError {
        KeyFileError::Io { path: self.0.clone(), source }
    }
}

struct Entry {
    hash: Hash,
    record: Arc<KeyRecord>,
}

/// All keys now valid.
pub struct Keys {
    fixed: Vec<Entry>,
    file: Option<KeyFile>,
    loaded: ArcSwap<Vec<Entry>>,
    seen: Mutex<(i64, Option<SystemTime>)>,
}

impl Keys {
    /// Keys given in clear (`authorized_ids`, and `MOSHI_API_KEY` as a comma-separated list) and those of `file`.
    pub fn new<'a>(fixed: impl Iterator<Item = &'a str>, file: Option<KeyFile>) -> Result<Self, KeyFileError> {
        let named = |(i, key): (usize, &str)| {
            let scopes = BTreeSet::from(["transcribe".to_owned()]);
            let record = KeyRecord { name: format!("static-{}", i + 1), scopes, ..KeyRecord::default() };
            Entry { hash: hash(key.as_bytes()), record: Arc::new(record) }
        };
        let fixed = fixed.map(str::trim).filter(|key| !key.is_empty()).enumerate().map(named).collect();
        let loaded = file.as_ref().map_or_else(|| Ok(Vec::new()), entries)?;
        let seen = Mutex::new((i64::MIN, file.as_ref().and_then(KeyFile::modified)));
        Ok(Self { fixed, file, loaded: ArcSwap::from_pointee(loaded), seen })
    }

    /// Whether any key could ever match.
    pub fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.file.is_none()
    }

    /// The record of `candidate`. Compares digests with every key, so that time tells nothing about which one is near.
    pub fn find(&self, candidate: &[u8]) -> Option<Arc<KeyRecord>> {
        let digest = hash(candidate);
        let loaded = self.loaded.load();
        let mut found = u32::MAX;
        for (i, entry) in self.fixed.iter().chain(loaded.iter()).enumerate() {
            let equal: Choice = entry.hash.ct_eq(&digest);
            found.conditional_assign(&(i as u32), equal);
        }
        let entry = self.fixed.iter().chain(loaded.iter()).nth(found as usize);
        entry.map(|entry| Arc::clone(&entry.record))
    }

    /// Reads the file again if it changed, looking at most once a second; a broken file keeps the keys there were.
    pub fn reload_if_changed(&self, now: i64) {
        let Some(file) = &self.file else { return };
        let mut seen = self.seen.lock();
        if now <= seen.0 {
            return;
        }
        seen.0 = now;
        let modified = file.modified();
        if modified == seen.1 {
            return;
        }
        seen.1 = modified;
        match entries(file) {
            Ok(entries) => self.loaded.store(Arc::new(entries)),
            Err(error) => tracing::error!(%error, "the keys file was not reloaded; the keys before stay valid"),
        }
    }
}

fn entries(file: &KeyFile) -> Result<Vec<Entry>, KeyFileError> {
    let records = file.list()?;
    Ok(records.into_iter().filter_map(|r| Some(Entry { hash: hash_of_hex(&r.sha256)?, record: Arc::new(r) })).collect())
}

pub(super) fn hash(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

fn hash_of_hex(hex: &str) -> Option<Hash> {
    let mut out = Hash::default();
    if hex.len() != 64 || !hex.is_ascii() {
        return None;
    }
    for (i, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(list: &str) -> Keys {
        Keys::new(list.split(','), None).unwrap()
    }

    #[test]
    fn trap_empty_entries_are_no_keys() {
        let keys = fixed(" a ,, b");
        assert!(keys.find(b"a").is_some() && keys.find(b"b").is_some());
        assert!(keys.find(b"").is_none() && keys.find(b" a ").is_none());
        assert!(fixed("").is_empty());
    }

    #[test]
    fn a_created_key_works_at_once_and_a_revoked_one_stops() {
        let dir = tempfile::tempdir().unwrap();
        let file = KeyFile::new(dir.path().join("keys.json"));
        let keys = Keys::new([].into_iter(), Some(file.clone())).unwrap();
        let key = file.create(KeyRecord { name: "ci".into(), max_sessions: Some(2), ..Default::default() }).unwrap();
        assert!(key.starts_with(PREFIX) && !fs::read_to_string(dir.path().join("keys.json")).unwrap().contains(&key));
        keys.reload_if_changed(1);
        assert_eq!(keys.find(key.as_bytes()).unwrap().max_sessions, Some(2));
        assert!(matches!(file.create(KeyRecord { name: "ci".into(), ..Default::default() }), Err(KeyFileError::Taken(_))));
        std::thread::sleep(std::time::Duration::from_millis(20));
        file.revoke("ci").unwrap();
        keys.reload_if_changed(2);
        assert!(keys.find(key.as_bytes()).is_none());
        assert!(file.revoke("ci").unwrap_err().to_string().contains("keys list"));
    }

    #[test]
    fn a_broken_file_keeps_the_keys_there_were() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys.json");
        let file = KeyFile::new(&path);
        let key = file.create(KeyRecord { name: "a".into(), ..Default::default() }).unwrap();
        let keys = Keys::new([].into_iter(), Some(file)).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(20));
        fs::write(&path, "[{").unwrap();
        keys.reload_if_changed(1);
        assert!(keys.find(key.as_bytes()).is_some());
        fs::write(&path, r#"[{"name":"x","sha256":"zz"}]"#).unwrap();
        assert!(KeyFile::new(&path).list().unwrap_err().to_string().contains("64 hexadecimal"));
    }
}
