//! `$NAME` in strings of the configuration, as Kyutai's server expands it (no `${NAME}`).

use std::path::{Path, PathBuf};

use super::bundled::{self, MODELS_DIR};

type Lookup = dyn Fn(&str) -> Option<String>;

/// Looks variables and files up.
pub struct Expander {
    lookup: Box<Lookup>,
    /// Folder of the configuration, when it is a file.
    folder: Option<PathBuf>,
}

/// A string after expansion.
#[derive(Debug, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// Names of the variables that are not set; they count as empty.
    pub unset: Vec<String>,
}

impl Expander {
    /// The process environment. `MOSHI_MODELS_DIR` has the folder found by [`bundled::models_dir`] when unset.
    #[must_use]
    pub fn from_env() -> Self {
        Self::with_models(bundled::models_dir)
    }

    /// The same for the strings of the file `config`, which may be in a checkout of its own.
    #[must_use]
    pub fn beside(config: &Path) -> Self {
        let folder = config.parent().map(Path::to_owned);
        let config = config.to_owned();
        Self {
            folder,
            ..Self::with_models(move || bundled::models_dir_of(&config))
        }
    }

    /// Returns where `file` is, when it is a relative path to something that exists beside the configuration and not in the
    /// working folder: so a configuration means the same wherever the server is started.
    #[must_use]
    pub fn place(&self, file: &Path) -> Option<PathBuf> {
        if file.is_absolute() || file.exists() {
            return None;
        }
        // `hf://` names are no paths; no such folder will be there.
        Some(self.folder.as_ref()?.join(file)).filter(|there| there.exists())
    }

    fn with_models(models: impl Fn() -> Option<PathBuf> + 'static) -> Self {
        Self::new(move |name| match std::env::var(name) {
            Ok(value) => Some(value),
            Err(_) if name == MODELS_DIR => models().as_deref().map(Path::to_string_lossy).map(String::from),
            Err(_) => None,
        })
    }

    /// Variables of one's own.
    pub fn new(lookup: impl Fn(&str) -> Option<String> + 'static) -> Self {
        Self {
            lookup: Box::new(lookup),
            folder: None,
        }
    }

    /// Replaces each `$NAME` (letters, digits and `_`, not starting with a digit) by its value.
    #[must_use]
    pub fn expand(&self, raw: &str) -> Expanded {
        let mut parts = raw.split('$');
        let mut text = parts.next().unwrap_or_default().to_owned();
        let mut unset = Vec::new();
        for part in parts {
            let end = part
                .find(|c: char| !c.is_ascii_alphanumeric() && c != '_')
                .unwrap_or(part.len());
            let (name, tail) = part.split_at(end);
            if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
                text.push('$');
                text.push_str(part);
                continue;
            }
            match (self.lookup)(name) {
                Some(value) => text.push_str(&value),
                None => unset.push(name.to_owned()),
            }
            text.push_str(tail);
        }
        Expanded { text, unset }
    }
}
