//! The secrets shared with Better Auth, read with its own grammar, and refused where they are blank, short or public.

use std::fmt;

/// Shortest usable secret in bytes.
const MIN_BYTES: usize = 32;
/// What Better Auth signs with outside production when nobody set a secret: known to everyone.
const PUBLIC_DEFAULT: &str = "better-auth-secret-12345678901234567890";

/// A secret; prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Secret {
    /// Returns the HMAC key: the secret's UTF-8 bytes as they are.
    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_bytes()
    }

    fn weakness(&self) -> Option<Weakness> {
        if self.0.trim().is_empty() {
            Some(Weakness::Blank)
        } else if self.0 == PUBLIC_DEFAULT {
            Some(Weakness::PublicDefault)
        } else if self.0.len() < MIN_BYTES {
            Some(Weakness::Short(self.0.len()))
        } else {
            None
        }
    }
}

/// Why a secret must not be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Weakness {
    #[error("it is blank")]
    Blank,
    #[error("it is Better Auth's public default, with which anyone can sign")]
    PublicDefault,
    #[error("it has {0} bytes; {MIN_BYTES} are the least")]
    Short(usize),
}

/// A mistake in the secrets' variables.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SecretError {
    #[error("BETTER_AUTH_SECRETS: entry {0} is not `<version>:<secret>`")]
    Entry(usize),
    #[error("BETTER_AUTH_SECRETS: the version of entry {0} is not a non-negative integer")]
    Version(usize),
    #[error("BETTER_AUTH_SECRETS: version {0} has an empty secret")]
    Empty(u64),
    #[error("BETTER_AUTH_SECRETS: version {0} appears twice")]
    Duplicate(u64),
    #[error("{variable}: {weakness}. Make one with `openssl rand -base64 32` and set it on both servers")]
    Weak {
        variable: &'static str,
        weakness: Weakness,
    },
}

/// Secrets, the one Better Auth signs with first. All are tried, so that a rotation overlaps.
#[derive(Clone, Debug, Default)]
pub struct Secrets(Vec<Secret>);

impl Secrets {
    /// Reads `BETTER_AUTH_SECRETS`, else `BETTER_AUTH_SECRET`, else `AUTH_SECRET`, as Better Auth does. None set means
    /// none; a weak one is kept for [`Secrets::check`] to refuse.
    ///
    /// # Errors
    /// `BETTER_AUTH_SECRETS` does not follow the grammar.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Result<Self, SecretError> {
        let set = |name: &str| get(name).filter(|value| !value.is_empty());
        if let Some(list) = set("BETTER_AUTH_SECRETS") {
            return parse_list(&list)
                .map(|entries| Self(entries.into_iter().map(|(_, s)| Secret(s)).collect()));
        }
        Ok(Self(
            set("BETTER_AUTH_SECRET")
                .or_else(|| set("AUTH_SECRET"))
                .map(Secret)
                .into_iter()
                .collect(),
        ))
    }

    /// Checks that every secret is worth the name.
    ///
    /// # Errors
    /// One is blank, too short, or public.
    pub fn check(&self) -> Result<(), SecretError> {
        let variable = if self.0.len() > 1 {
            "BETTER_AUTH_SECRETS"
        } else {
            "BETTER_AUTH_SECRET"
        };
        match self.0.iter().find_map(Secret::weakness) {
            Some(weakness) => Err(SecretError::Weak { variable, weakness }),
            None => Ok(()),
        }
    }

    /// Returns the secrets that are strong enough to verify with.
    pub fn usable(&self) -> impl Iterator<Item = &Secret> {
        self.0.iter().filter(|s| s.weakness().is_none())
    }

    /// Returns whether no variable was set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Parses Better Auth's grammar: comma-separated `<version>:<secret>`, both trimmed; the version is read as JavaScript's
/// `parseInt` reads it, so what follows its digits is ignored.
///
/// # Errors
/// An entry does not follow the grammar, is empty, or has the version of another.
pub fn parse_list(list: &str) -> Result<Vec<(u64, String)>, SecretError> {
    let mut entries: Vec<(u64, String)> = Vec::new();
    for (i, entry) in list.split(',').enumerate() {
        let (version, secret) = entry.split_once(':').ok_or(SecretError::Entry(i + 1))?;
        let digits: String = version.trim().chars().take_while(char::is_ascii_digit).collect();
        let version: u64 = digits.parse().map_err(|_| SecretError::Version(i + 1))?;
        let secret = secret.trim();
        if secret.is_empty() {
            return Err(SecretError::Empty(version));
        }
        if entries.iter().any(|(v, _)| *v == version) {
            return Err(SecretError::Duplicate(version));
        }
        entries.push((version, secret.to_owned()));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> Result<Secrets, SecretError> {
        Secrets::from_env(|name| {
            pairs
                .iter()
                .find(|(n, _)| *n == name)
                .map(|(_, v)| (*v).to_owned())
        })
    }

    #[test]
    fn the_list_wins_over_the_single_secret() {
        let long = "x".repeat(32);
        let secrets = env(&[
            ("BETTER_AUTH_SECRETS", &format!("1:{long}")),
            ("BETTER_AUTH_SECRET", "other"),
        ])
        .unwrap();
        assert_eq!(
            secrets.usable().map(Secret::bytes).collect::<Vec<_>>(),
            [long.as_bytes()]
        );
    }

    #[test]
    fn trap_the_single_secret_is_not_trimmed() {
        let padded = format!("{}\n", "x".repeat(32));
        let secrets = env(&[("BETTER_AUTH_SECRET", &padded)]).unwrap();
        assert_eq!(
            secrets.usable().map(Secret::bytes).collect::<Vec<_>>(),
            [padded.as_bytes()]
        );
    }

    #[test]
    fn weak_secrets_refuse_to_start_and_say_why() {
        for (secret, why) in [
            ("short", "5 bytes"),
            ("      ", "blank"),
            (PUBLIC_DEFAULT, "public default"),
        ] {
            let secrets = env(&[("BETTER_AUTH_SECRET", secret)]).unwrap();
            let message = secrets.check().unwrap_err().to_string();
            assert!(
                message.contains(why) && message.contains("BETTER_AUTH_SECRET"),
                "{message}"
            );
            assert!(
                !message.contains(PUBLIC_DEFAULT),
                "a message must not repeat the secret"
            );
            assert_eq!(secrets.usable().count(), 0);
        }
    }

    #[test]
    fn trap_an_empty_variable_is_no_secret() {
        assert!(env(&[("BETTER_AUTH_SECRET", "")]).unwrap().is_empty());
        assert!(env(&[]).unwrap().check().is_ok());
    }

    #[test]
    fn secrets_do_not_print() {
        assert_eq!(
            format!("{:?}", env(&[("BETTER_AUTH_SECRET", "hush")]).unwrap()),
            "Secrets([[redacted]])"
        );
    }
}
