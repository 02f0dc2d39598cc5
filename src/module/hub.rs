//! Finds model files by name: a path is taken as it is, `hf://org/repo/file` comes from the hub's cache or from the hub.
//!
//! The cache is the one all hub tools share (`HF_HOME`), the address can be a mirror (`HF_ENDPOINT`), and with
//! `HF_HUB_OFFLINE=1` nothing is fetched.

mod error;
mod fetch;
mod request;
mod source;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo};
use sha2::{Digest as _, Sha256};

pub use self::error::HubError;
use self::fetch::Fetch;
pub use self::source::Source;

const SCHEME: &str = "hf://";

/// Finds files.
pub struct Hub {
    source: Source,
}

impl Hub {
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source }
    }

    /// Returns the path of the file called `name`, fetched if it was not there.
    ///
    /// # Errors
    /// The file cannot be had.
    pub fn find(&self, name: &str) -> Result<PathBuf, HubError> {
        if let Some(path) = self.local(name)? {
            return Ok(path);
        }
        let (repo, file) = split(name)?;
        if self.source.offline {
            return Err(HubError::Offline(name.to_owned(), self.source.cache.clone()));
        }
        let fetch = Fetch {
            source: &self.source,
            name,
            repo,
            file,
        };
        let path = fetch.run()?;
        verify(name, &path)?;
        Ok(path)
    }

    /// Returns the path of the file called `name`, or `None` if it would have to be fetched.
    ///
    /// # Errors
    /// `name` is a path and there is no file, or it is no name at all.
    pub fn local(&self, name: &str) -> Result<Option<PathBuf>, HubError> {
        if !name.starts_with(SCHEME) {
            let path = PathBuf::from(name);
            return if path.is_file() {
                Ok(Some(path))
            } else {
                Err(HubError::Missing(path))
            };
        }
        let (repo, file) = split(name)?;
        Ok(Cache::new(self.source.cache.clone())
            .repo(Repo::model(repo))
            .get(&file))
    }
}

/// Splits `hf://org/repo/dir/file` into `org/repo` and `dir/file`.
fn split(name: &str) -> Result<(String, String), HubError> {
    let wrong = || HubError::Name(name.to_owned());
    let rest = name.strip_prefix(SCHEME).ok_or_else(wrong)?;
    let mut parts = rest.splitn(3, '/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some(org), Some(repo), Some(file))
            if rest
                .split('/')
                .all(|part| !part.is_empty() && part != "." && part != "..") =>
        {
            Ok((format!("{org}/{repo}"), file.to_owned()))
        }
        _ => Err(wrong()),
    }
}

/// Checks a large file, which the cache names by its SHA-256, and removes it if it is damaged.
fn verify(name: &str, path: &Path) -> Result<(), HubError> {
    let failed = |error: std::io::Error| HubError::Failed {
        name: name.to_owned(),
        reason: error.to_string(),
    };
    let blob = path.canonicalize().map_err(failed)?;
    let Some(expected) = blob.file_name().and_then(|n| n.to_str()).filter(|n| is_sha256(n)) else {
        return Ok(());
    };
    let mut file = std::fs::File::open(&blob).map_err(failed)?;
    let mut hash = Sha256::new();
    let mut block = vec![0; 1 << 20];
    loop {
        let count = file.read(&mut block).map_err(failed)?;
        if count == 0 {
            break;
        }
        hash.update(&block[..count]);
    }
    let found: String = hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
    if found == expected {
        return Ok(());
    }
    std::fs::remove_file(path)
        .and_then(|()| std::fs::remove_file(&blob))
        .map_err(failed)?;
    Err(HubError::Damaged(name.to_owned()))
}

fn is_sha256(name: &str) -> bool {
    name.len() == 64
        && name
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte))
}

#[cfg(test)]
mod tests;
