//! `$NAME` in strings of the configuration, as Kyutai's server expands it (no `${NAME}`).

use std::path::Path;

use super::bundled::{self, MODELS_DIR};

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
        Self::new(|name| match std::env::var(name) {
            Ok(value) => Some(value),
            Err(_) if name == MODELS_DIR => bundled::models_dir()
                .as_deref()
                .map(Path::to_string_lossy)
                .map(String::from),
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
