//! A secret on its way from a client to whoever judges it.

use std::fmt;

/// A credential in clear. It prints as `[redacted]`, so that no log can hold it by accident.
///
/// ```
/// use moshi_server::stream::secret::Secret;
/// let token = Secret::from("s3cret".to_owned());
/// assert_eq!(format!("{token:?}"), "[redacted]");
/// assert_eq!(token.reveal(), "s3cret");
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Borrows the credential in clear, to judge it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Returns the credential in clear, to hand it to its owner.
    #[must_use]
    pub fn reveal(self) -> String {
        self.0
    }
}

impl From<String> for Secret {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}
