//! The `[auth]` table.

use std::path::PathBuf;

use serde::Deserialize;

use super::claims::ClaimRules;
use super::cookie::CookieNames;
use super::jwt::MAX_TOKEN_BYTES;

/// When a session ends whose credential expires while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnExpiry {
    /// With the auth server's session, as it was known when the client connected: a token of a minute opens a call of an hour.
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
    /// Failed attempts an address may make in a minute; 0 turns the count off.
    pub failures_per_minute: u32,
    pub on_expiry: OnExpiry,
    /// Longest session of a signed-in user, in seconds, whatever the token says.
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

/// `[auth.users]`: limits of each signed-in user.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct UserLimits {
    pub max_sessions: Option<u32>,
    /// Connection minutes in a UTC day.
    pub minutes_per_day: Option<u32>,
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
    /// Our name in the tokens it makes for us.
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
