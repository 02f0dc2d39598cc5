//! Where model files come from.

use std::path::PathBuf;

use hf_hub::Cache;

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
