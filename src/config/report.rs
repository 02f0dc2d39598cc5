//! Results of loading a configuration: mistakes, which stop it, and warnings, which do not.

use std::fmt;

/// Something in the file that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Line in the file, from 1; none when the mistake is that something is absent from the whole file.
    pub line: Option<usize>,
    /// Dotted path of the key, empty for the file as a whole.
    pub key: String,
    pub message: String,
}

/// Something in the file that is accepted and does nothing, or does not do what was meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// Line in the file, from 1.
    pub line: Option<usize>,
    /// Dotted path of the key.
    pub key: String,
    pub message: String,
}

/// Every mistake found in one file.
#[derive(Clone, Debug, thiserror::Error)]
pub struct ConfigErrors {
    /// The file's name, as it was given.
    pub file: String,
    pub mistakes: Vec<Mistake>,
    /// What was found besides.
    pub warnings: Vec<Warning>,
}

impl ConfigErrors {
    pub(super) fn unreadable(file: &str, error: &std::io::Error) -> Self {
        Self::single(file, format!("cannot be read: {error}"))
    }

    pub(super) fn single(file: &str, message: String) -> Self {
        let mistake = Mistake {
            line: None,
            key: String::new(),
            message,
        };
        Self {
            file: file.to_owned(),
            mistakes: vec![mistake],
            warnings: Vec::new(),
        }
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.mistakes.len();
        writeln!(
            f,
            "{count} mistake{} in the configuration:",
            if count == 1 { "" } else { "s" }
        )?;
        for mistake in &self.mistakes {
            write!(f, "\n  {}", self.file)?;
            line(f, mistake.line, &mistake.key, &mistake.message)?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, self.line, &self.key, &self.message)
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        line(f, self.line, &self.key, &self.message)
    }
}

/// `:12: modules.asr.batch_size: message`, to follow a file's name.
fn line(f: &mut fmt::Formatter<'_>, line: Option<usize>, key: &str, message: &str) -> fmt::Result {
    if let Some(line) = line {
        write!(f, ":{line}")?;
    }
    write!(f, ": ")?;
    if !key.is_empty() {
        write!(f, "{key}: ")?;
    }
    f.write_str(message)
}

/// Returns a number of bytes as people write it.
///
/// ```
/// use moshi_server::config::report::human;
/// assert_eq!((human(5_400), human(98_304_000), human(6_290_000_000)), ("5 kB".into(), "98 MB".into(), "6.3 GB".into()));
/// ```
#[must_use]
pub fn human(bytes: u64) -> String {
    match bytes {
        0..1_000_000 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.0} MB", bytes as f64 / 1e6),
        _ => format!("{:.1} GB", bytes as f64 / 1e9),
    }
}
