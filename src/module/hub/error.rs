//! Why a model file cannot be had.

use std::path::PathBuf;

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
