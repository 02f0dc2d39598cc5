//! `$NAME` in strings of the configuration, as Kyutai's server expands it (no `${NAME}`).

use std::path::{Path, PathBuf};

use crate::config::bundled;

/// Name of the variable that points at the folder of bundled checkpoints; found by itself in a checkout.
pub const MODELS_DIR: &str = "MOSHI_MODELS_DIR";

type Lookup = dyn Fn(&str) -> Option<String>;

/// Looks variables up.
pub struct Expander {
    lookup: Box<Lookup>,
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
        let config = config.to_owned();
        Self::with_models(move || bundled::models_dir_of(&config))
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
