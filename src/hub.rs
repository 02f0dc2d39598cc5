//! Finds model files by name: a path is taken as it is, `hf://org/repo/file` comes from the hub's cache or from the hub.
//!
//! The cache is the one all hub tools share (`HF_HOME`), the address can be a mirror (`HF_ENDPOINT`), and with
//! `HF_HUB_OFFLINE=1` nothing is fetched.

mod fetch;
mod request;

use std::io::Read as _;
use std::path::{Path, PathBuf};

use hf_hub::{Cache, Repo};
use sha2::{Digest as _, Sha256};

use self::fetch::Fetch;
use crate::config::module::AsrModule;

const SCHEME: &str = "hf://";

/// Why a file cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    #[error("{0}: no such file")]
    Missing(PathBuf),
    #[error("`{0}` is not a name like hf://org/repo/file")]
    Name(String),
    #[error("{0} is not in the cache {1}, and HF_HUB_OFFLINE forbids to fetch it")]
    Offline(String, PathBuf),
    #[error(
        "{name}: the hub refused ({status}). Accept the model's terms on its page if it has any, and set HF_TOKEN to a token \
         that may read it"
    )]
    Refused { name: String, status: u16 },
    #[error("{0}: the hub has no such repository or file")]
    Unknown(String),
    #[error(
        "{name}: cannot get it from {endpoint} ({reason}). Without a network, fill the cache elsewhere and set HF_HUB_OFFLINE=1"
    )]
    Unreachable {
        name: String,
        endpoint: String,
        reason: String,
    },
    #[error("HF_ENDPOINT is `{0}`: it must be a URL such as https://huggingface.co")]
    Endpoint(String),
    #[error(
        "{name}: {endpoint} sends this file on to {host}, which answered with status {status}. The token is shown to {endpoint} alone: \
         if {host} is the hub you mean, set HF_ENDPOINT={host}"
    )]
    Elsewhere {
        name: String,
        endpoint: String,
        host: String,
        status: u16,
    },
    #[error(
        "{name}: the answer of {endpoint}{by} lacks what a hub says of a file (X-Repo-Commit and ETag). Set HF_ENDPOINT to the address of a \
         hub or mirror, such as https://huggingface.co"
    )]
    NoHub {
        name: String,
        endpoint: String,
        by: String,
    },
    #[error(
        "{name}: {endpoint} sends this file on to {to} {why}. Set HF_ENDPOINT to the address of the hub itself"
    )]
    Astray {
        name: String,
        endpoint: String,
        to: String,
        why: &'static str,
    },
    #[error("{name}: another process is fetching it ({}); wait for that to end", lock.display())]
    Locked { name: String, lock: PathBuf },
    #[error("{0} arrived damaged and was removed from the cache; start again to fetch it again")]
    Damaged(String),
    #[error("{name}: {reason}")]
    Failed { name: String, reason: String },
}

/// Where files come from.
#[derive(Clone, Debug)]
pub struct Source {
    /// Address of the hub or a mirror.
    pub endpoint: String,
    /// Folder of the cache.
    pub cache: PathBuf,
    /// Sent to the hub. Never logged.
    pub token: Option<String>,
    /// Fetch nothing.
    pub offline: bool,
    /// Show a progress bar on standard error while fetching.
    pub progress: bool,
}

impl Source {
    /// Reads the environment. `HF_TOKEN` wins over the token that hub tools have stored.
    #[must_use]
    pub fn from_env(offline: bool) -> Self {
        let var = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let cache = Cache::from_env();
        Self {
            endpoint: var("HF_ENDPOINT").unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token: var("HF_TOKEN").or_else(|| cache.token()),
            offline: offline || var("HF_HUB_OFFLINE").is_some_and(|value| value != "0" && value != "false"),
            cache: cache.path().clone(),
            progress: true,
        }
    }
}

/// Finds files.
pub struct Hub {
    source: Source,
}

impl Hub {
    #[must_use]
    pub fn new(source: Source) -> Self {
        Self { source }
    }

    /// Returns the module with its files as paths that exist, fetched if they were not there.
    ///
    /// # Errors
    /// The first file that cannot be had.
    pub fn resolve(&self, module: &AsrModule) -> Result<AsrModule, HubError> {
        let mut module = module.clone();
        for file in [
            &mut module.lm_model_file,
            &mut module.text_tokenizer_file,
            &mut module.audio_tokenizer_file,
        ] {
            *file = self.find(file)?.to_string_lossy().into_owned();
        }
        Ok(module)
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
