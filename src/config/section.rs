//! Reads a TOML document section by section and keeps going after a mistake.
//!
//! serde stops at the first error. To report them all, the offending value is replaced by that of a known good
//! file (or dropped, where the key is optional) and the section is read again, until nothing is left to say.

use serde::de::DeserializeOwned;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use crate::config::expand::Expander;
use crate::config::report::{ConfigErrors, Mistake, Warning};

/// A section can have this many mistakes reported; a bound on the work, far above any file written by hand.
const MAX_REPAIRS: usize = 200;

/// One file: its values with their places, and what there is to say about it.
pub(super) struct Document<'i> {
    file: &'i str,
    text: &'i str,
    /// Everything in the file, for finding lines.
    whole: DeTable<'i>,
    /// What no section has claimed yet.
    rest: DeTable<'i>,
    mistakes: Vec<Mistake>,
    warnings: Vec<Warning>,
}

impl<'i> Document<'i> {
    /// Reads the syntax. All syntax errors come together; a file that has any is not looked at further.
    pub(super) fn parse(file: &'i str, text: &'i str) -> Result<Self, ConfigErrors> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let mut mistakes: Vec<Mistake> = errors
                .iter()
                .map(|e| Mistake {
                    line: e.span().map(|span| line_at(text, span.start)),
                    key: String::new(),
                    message: e.message().to_owned(),
                })
                .collect();
            mistakes.sort_by_key(|m| m.line);
            return Err(ConfigErrors {
                file: file.to_owned(),
                mistakes,
                warnings: Vec::new(),
            });
        }
        let whole = table.into_inner();
        let rest = whole.clone();
        Ok(Self {
            file,
            text,
            whole,
            rest,
            mistakes: Vec::new(),
            warnings: Vec::new(),
        })
    }

    /// Takes the top-level key `name` and reads it; the default when it is absent or useless.
    pub(super) fn section<T: DeserializeOwned + Default>(&mut self, name: &str) -> T {
        match self.take(name) {
            Some(value) => self.read(&[name], value, None, &[]).unwrap_or_default(),
            None => T::default(),
        }
    }

    /// Takes the top-level string `name` and expands the variables in it.
    pub(super) fn expanded(&mut self, name: &str, vars: &Expander) -> Option<String> {
        let value = self.take(name)?;
        let raw: String = self.read(&[name], value, None, &[])?;
        Some(self.expand(&[name], &raw, vars))
    }

    /// Takes a top-level value out of the document.
    pub(super) fn take(&mut self, name: &str) -> Option<Spanned<DeValue<'i>>> {
        self.rest.remove(name)
    }

    /// Expands `raw`, the value at `path`; a variable that is not set counts as empty, with a warning.
    pub(super) fn expand(&mut self, path: &[&str], raw: &str, vars: &Expander) -> String {
        let expanded = vars.expand(raw);
        for name in expanded.unset {
            self.warn(
                path,
                format!("the environment variable {name} is not set and counts as empty"),
            );
        }
        expanded.text
    }

    /// Reads `value`, found at `path`, as a `T`. `good` lends values to go on with after a mistake; `inert` names
    /// keys that are accepted without effect.
    pub(super) fn read<T: DeserializeOwned>(
        &mut self,
        path: &[&str],
        mut value: Spanned<DeValue<'i>>,
        good: Option<&DeTable<'i>>,
        inert: &[&str],
    ) -> Option<T> {
        for _ in 0..MAX_REPAIRS {
            let mut unknown = Vec::new();
            let source = ValueDeserializer::from(value.clone());
            let error = match serde_ignored::deserialize(source, |at| unknown.push(at.to_string())) {
                Ok(read) => {
                    self.warn_of_unknown(path, &unknown, inert);
                    return Some(read);
                }
                Err(error) => error,
            };
            let fault = Fault::locate(&error, &value);
            let mut key: Vec<&str> = path.to_vec();
            key.extend(fault.path.iter().map(String::as_str));
            let line = error
                .span()
                .map(|span| line_at(self.text, span.start))
                .or_else(|| self.line(path));
            let message = error.message().to_owned();
            self.mistakes.push(Mistake {
                line,
                key: key.join("."),
                message,
            });
            if !fault.repair(&mut value, good) {
                return None;
            }
        }
        None
    }

    fn warn_of_unknown(&mut self, path: &[&str], unknown: &[String], inert: &[&str]) {
        for at in unknown {
            // serde_ignored shows an Option on the way as `?`.
            let below: Vec<&str> = at.split('.').filter(|part| *part != "?").collect();
            if below.last().is_some_and(|key| inert.contains(key)) {
                continue;
            }
            let mut full = path.to_vec();
            full.extend(below);
            self.warn(&full, "unknown key, ignored".to_owned());
        }
    }

    /// Warns of the top-level keys that nobody took.
    pub(super) fn warn_of_rest(&mut self) {
        let names: Vec<String> = self.rest.keys().map(|key| key.get_ref().to_string()).collect();
        for name in names {
            self.warn(&[&name], "unknown key, ignored".to_owned());
        }
    }

    pub(super) fn warn(&mut self, path: &[&str], message: String) {
        let line = self.line(path);
        self.warnings.push(Warning {
            line,
            key: path.join("."),
            message,
        });
    }

    pub(super) fn mistake(&mut self, path: &[&str], message: String) {
        let line = self.line(path);
        self.mistakes.push(Mistake {
            line,
            key: path.join("."),
            message,
        });
    }

    /// True when a mistake has been reported at `path` or below it already.
    pub(super) fn is_bad(&self, path: &[&str]) -> bool {
        let key = path.join(".");
        self.mistakes.iter().any(|m| m.key == key)
    }

    /// Line of the key at `path`, or of the nearest table above it that the file has.
    pub(super) fn line(&self, path: &[&str]) -> Option<usize> {
        let mut table = &self.whole;
        let mut start = None;
        for name in path {
            let Some((key, value)) = table.get_key_value(*name) else {
                break;
            };
            start = Some(key.span().start);
            match value.get_ref() {
                DeValue::Table(inner) => table = inner,
                _ => break,
            }
        }
        start.map(|at| line_at(self.text, at))
    }

    /// The configuration when there was no mistake, everything there is to say when there was.
    pub(super) fn finish<T>(mut self, config: T) -> Result<(T, Vec<Warning>), ConfigErrors> {
        self.warnings.sort_by_key(|w| w.line);
        if self.mistakes.is_empty() {
            return Ok((config, self.warnings));
        }
        self.mistakes.sort_by_key(|m| m.line);
        Err(ConfigErrors {
            file: self.file.to_owned(),
            mistakes: self.mistakes,
            warnings: self.warnings,
        })
    }
}

/// Where in a section a serde error lies.
struct Fault {
    /// Keys down to the value at fault; for a missing key, down to that key.
    path: Vec<String>,
}

impl Fault {
    fn locate(error: &toml::de::Error, section: &Spanned<DeValue<'_>>) -> Self {
        let mut path = Vec::new();
        if let Some(span) = error.span() {
            find(section, &span, &mut path);
        }
        let missing = error
            .message()
            .strip_prefix("missing field `")
            .and_then(|m| m.split('`').next());
        path.extend(missing.map(str::to_owned));
        Self { path }
    }

    /// Puts the known good value in place of the one at fault, or drops it. False when that changes nothing.
    fn repair<'i>(&self, section: &mut Spanned<DeValue<'i>>, good: Option<&DeTable<'i>>) -> bool {
        let Some((last, above)) = self.path.split_last() else {
            return false;
        };
        let mut good = good;
        let mut at = section.get_mut();
        for name in above {
            good = good
                .and_then(|table| table.get(name.as_str()))
                .and_then(|v| v.get_ref().as_table());
            let DeValue::Table(table) = at else { return false };
            let Some(next) = table.get_mut(name.as_str()) else {
                return false;
            };
            at = next.get_mut();
        }
        let DeValue::Table(table) = at else { return false };
        let bad = table.remove(last.as_str());
        match good.and_then(|good| good.get_key_value(last.as_str())) {
            Some((key, value)) => {
                table.insert(key.clone(), value.clone());
                true
            }
            None => bad.is_some(),
        }
    }
}

/// Descends to the innermost table entry whose key or value contains `span`. True when one was found.
fn find(value: &Spanned<DeValue<'_>>, span: &std::ops::Range<usize>, path: &mut Vec<String>) -> bool {
    let DeValue::Table(table) = value.get_ref() else {
        return false;
    };
    for (key, inner) in table {
        path.push(key.get_ref().to_string());
        let holds = [key.span(), inner.span()]
            .iter()
            .any(|at| at.start <= span.start && span.end <= at.end);
        if find(inner, span, path) || holds {
            return true;
        }
        path.pop();
    }
    false
}

fn line_at(text: &str, offset: usize) -> usize {
    text.as_bytes()
        .iter()
        .take(offset)
        .filter(|byte| **byte == b'\n')
        .count()
        + 1
}
