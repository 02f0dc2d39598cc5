//! The `[auth]` table.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer, de};

use super::claims::ClaimRules;
use super::cookie::CookieNames;
use super::identity::PrincipalLimits;
use super::jwt::MAX_TOKEN_BYTES;

/// When a running session ends whose credential expires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// With the auth server's session, as the credential stated it: a token of one minute can open a session of an hour.
    #[default]
    Session,
    /// With the token, unless the client sends a newer one in time.
    Token,
}

/// `[auth]`. Secrets stand in the environment: `MOSHI_API_KEY`, `BETTER_AUTH_SECRET`, `BETTER_AUTH_SECRETS`.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthConfig {
    /// File of hashed API keys, made by `moshi-server keys create`.
    pub key_file: Option<PathBuf>,
    /// Failed attempts per minute and address; 0 is no limit.
    pub failures_per_minute: u32,
    pub on_expiry: OnExpiry,
    /// Longest session of a signed-in user, in seconds from its start, whatever the token says.
    pub max_session_s: u32,
    pub users: UserLimits,
    pub better_auth: BetterAuthConfig,
}

impl Default for AuthConfig {
    fn default() -> Self {
        Self {
            key_file: None,
            failures_per_minute: 30,
            on_expiry: OnExpiry::default(),
            max_session_s: 86_400,
            users: UserLimits::default(),
            better_auth: BetterAuthConfig::default(),
        }
    }
}

/// A limit that only the word lifts: a number of at least 1, or `"unlimited"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    AtMost(u32),
    Unlimited,
}

impl Limit {
    /// Returns the number; `None` is no limit.
    #[must_use]
    pub fn at_most(self) -> Option<u32> {
        match self {
            Self::AtMost(most) => Some(most),
            Self::Unlimited => None,
        }
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of at least 1, or \"unlimited\"")
            }

            fn visit_i64<E: de::Error>(self, number: i64) -> Result<Limit, E> {
                match u32::try_from(number) {
                    Ok(most @ 1..) => Ok(Limit::AtMost(most)),
                    _ => Err(E::invalid_value(de::Unexpected::Signed(number), &self)),
                }
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                match text {
                    "unlimited" => Ok(Limit::Unlimited),
                    _ => Err(E::invalid_value(de::Unexpected::Str(text), &self)),
                }
            }
        }
        from.deserialize_any(Visitor)
    }
}

/// `[auth.users]`: limits of each signed-in user. Whoever can make an account at the auth server is one, so both have a default.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserLimits {
    /// Sessions at once, waiting ones included.
    pub max_sessions: Option<Limit>,
    /// Connection minutes in a UTC day, of all sessions together.
    pub minutes_per_day: Limit,
}

impl UserLimits {
    /// Sessions at once, unless `max_sessions` or the server's own `max_sessions_per_user` says otherwise.
    pub const SESSIONS: Limit = Limit::AtMost(3);
    /// Ten hours.
    pub const MINUTES: Limit = Limit::AtMost(600);

    /// Uses `max_sessions_per_user` of `[limits]`, the limit for everybody, where signed-in users have no `max_sessions` of their own.
    pub fn fall_back_to(&mut self, everybody: Option<u32>) {
        if let (None | Some(Limit::Unlimited), Some(most)) = (self.max_sessions, everybody) {
            self.max_sessions = Some(Limit::AtMost(most));
        }
    }

    pub(super) fn of_each(self) -> PrincipalLimits {
        PrincipalLimits {
            max_sessions: self.max_sessions.unwrap_or(Self::SESSIONS).at_most(),
            minutes_per_day: self.minutes_per_day.at_most(),
        }
    }
}

impl Default for UserLimits {
    fn default() -> Self {
        Self {
            max_sessions: None,
            minutes_per_day: Self::MINUTES,
        }
    }
}

/// `[auth.better_auth]`: how the auth server is set up.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BetterAuthConfig {
    /// Its key set, as a file.
    pub jwks_file: Option<PathBuf>,
    /// Its key set, to be fetched: `<base URL>/api/auth/jwks`.
    pub jwks_url: Option<String>,
    /// Its base URL. Needed with a key set.
    pub issuer: Option<String>,
    /// This server's name in the tokens that it makes for this server.
    pub audience: Option<String>,
    /// Its `advanced.cookiePrefix`.
    pub cookie_prefix: String,
    /// Its `advanced.cookies.session_data.name`.
    pub session_data_cookie: Option<String>,
    /// Take `__Secure-` cookies only. Set it wherever the site is https.
    pub require_secure_cookie: bool,
    /// Demand the signed `session_token` cookie beside the session cache. Needs the shared secret.
    pub bind_session_token: bool,
    /// Its `session.cookieCache.version`.
    pub cookie_cache_version: Option<String>,
    pub require_verified_email: bool,
    /// Skew allowed between the clocks, in seconds (at most 60).
    pub leeway_s: i64,
    pub max_token_bytes: usize,
}

impl Default for BetterAuthConfig {
    fn default() -> Self {
        Self {
            jwks_file: None,
            jwks_url: None,
            issuer: None,
            audience: None,
            cookie_prefix: "better-auth".to_owned(),
            session_data_cookie: None,
            require_secure_cookie: false,
            bind_session_token: false,
            cookie_cache_version: None,
            require_verified_email: false,
            leeway_s: ClaimRules::default().leeway_s,
            max_token_bytes: MAX_TOKEN_BYTES,
        }
    }
}

impl BetterAuthConfig {
    pub(super) fn rules(&self) -> ClaimRules {
        ClaimRules {
            leeway_s: self.leeway_s,
            audience: self.audience.clone(),
            issuer: self.issuer.clone(),
            cache_version: self.cookie_cache_version.clone(),
            require_verified_email: self.require_verified_email,
        }
    }

    pub(super) fn cookie_names(&self) -> CookieNames {
        CookieNames::new(
            &self.cookie_prefix,
            self.session_data_cookie.as_deref(),
            self.require_secure_cookie,
        )
    }
}
