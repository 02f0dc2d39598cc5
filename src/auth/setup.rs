//! Building the guard from the configuration and the environment.

use std::sync::Arc;

use super::api_keys::ApiKeys;
use super::client_secrets::ClientSecrets;
use super::config::AuthConfig;
use super::guard::Guard;
use super::identity::PrincipalLimits;
use super::jwt::Verifier;
use super::key_file::KeyFileError;
use super::key_source::{KeySource, KeySourceError};
use super::methods::{Authenticator, BetterAuth, ClientSecretAuth, CookieAuth, TicketAuth, TokenAuth};
use super::origin::{OriginError, Origins};
use super::secrets::{SecretError, Secrets};
use super::throttle::Throttle;
use super::tickets::Tickets;
use super::usage::Ledger;

/// Why the server must not start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum AuthConfigError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    #[error(transparent)]
    KeySet(#[from] KeySourceError),
    #[error("server.allowed_origins: {0}")]
    Origin(#[from] OriginError),
    #[error("[auth.better_auth]: set jwks_file or jwks_url, not both")]
    TwoKeySets,
    #[error(
        "[auth.better_auth]: a key set needs `issuer`, the auth server's base URL: without it any service that shares the keys could sign people in"
    )]
    NoIssuer,
    #[error(
        "[auth.better_auth]: bind_session_token needs BETTER_AUTH_SECRET, with which that cookie is signed"
    )]
    BindWithoutSecret,
    #[error("[auth.better_auth]: leeway_s is {0}; between 0 and 60 are allowed")]
    Leeway(i64),
    #[error("[auth]: {0}")]
    Table(String),
}

impl Guard {
    /// Builds the guard from `[auth]`, the keys in `authorized_ids`, the allowed web origins and the environment.
    ///
    /// # Errors
    /// The settings contradict each other, would let in whom they should not, or name a file that cannot be used.
    pub fn from_config(
        config: &AuthConfig,
        authorized_ids: &[String],
        allowed_origins: &[String],
        env: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, AuthConfigError> {
        let settings = &config.better_auth;
        if !(0..=60).contains(&settings.leeway_s) {
            return Err(AuthConfigError::Leeway(settings.leeway_s));
        }
        let secrets = Secrets::from_env(&env)?;
        secrets.check()?;
        let keys = key_source(config)?;
        if settings.bind_session_token && secrets.is_empty() {
            return Err(AuthConfigError::BindWithoutSecret);
        }
        let named = env("MOSHI_API_KEY").unwrap_or_default();
        let plain = named
            .split(',')
            .map(str::to_owned)
            .chain(authorized_ids.iter().cloned());
        let api_keys = ApiKeys::new(plain, config.key_file.clone())?;
        let guessable = api_keys.guessable();
        let key_file = api_keys.file();
        let tickets = Arc::new(Tickets::default());
        let client_secrets = Arc::new(ClientSecrets::default());
        let mut methods: Vec<Box<dyn Authenticator>> = Vec::new();
        if !api_keys.is_empty() {
            methods.push(Box::new(api_keys));
        }
        let has_better_auth = !secrets.is_empty() || keys.is_some();
        if has_better_auth {
            let better_auth = Arc::new(BetterAuth {
                verifier: Verifier::new(&secrets, settings.rules(), settings.max_token_bytes),
                secrets,
                keys: keys.clone(),
                names: settings.cookie_names(),
                bind_session_token: settings.bind_session_token,
                max_token_bytes: settings.max_token_bytes,
                on_expiry: config.on_expiry,
                max_session_s: config.max_session_s,
                limits: config.users.of_each(),
            });
            methods.push(Box::new(TicketAuth(Arc::clone(&tickets))));
            methods.push(Box::new(ClientSecretAuth(Arc::clone(&client_secrets))));
            methods.push(Box::new(TokenAuth(Arc::clone(&better_auth))));
            methods.push(Box::new(CookieAuth(better_auth)));
        } else if !methods.is_empty() {
            methods.push(Box::new(TicketAuth(Arc::clone(&tickets))));
            methods.push(Box::new(ClientSecretAuth(Arc::clone(&client_secrets))));
        }
        let signed_in = has_better_auth.then(|| config.users.of_each());
        Ok(Self {
            warnings: warnings(guessable, signed_in, settings.issuer.as_deref()),
            methods,
            keys,
            key_file,
            tickets,
            client_secrets,
            throttle: Throttle::new(config.failures_per_minute),
            origins: Origins::new(allowed_origins.iter().cloned())?,
            ledger: Ledger::default(),
        })
    }
}

fn key_source(config: &AuthConfig) -> Result<Option<Arc<KeySource>>, AuthConfigError> {
    let settings = &config.better_auth;
    let source = match (&settings.jwks_file, &settings.jwks_url) {
        (Some(_), Some(_)) => return Err(AuthConfigError::TwoKeySets),
        (Some(path), None) => KeySource::from_file(path.clone())?,
        (None, Some(url)) => KeySource::from_url(url)?,
        (None, None) => return Ok(None),
    };
    if settings.issuer.is_none() {
        return Err(AuthConfigError::NoIssuer);
    }
    Ok(Some(Arc::new(source)))
}

/// What is legal and probably not meant. `signed_in` are the limits of each signed-in user, where people can sign in.
fn warnings(guessable: usize, signed_in: Option<PrincipalLimits>, issuer: Option<&str>) -> Vec<String> {
    let mut warnings = Vec::new();
    if guessable > 0 {
        warnings.push(format!(
            "{guessable} API key(s) of MOSHI_API_KEY or authorized_ids have under 16 characters and could be guessed"
        ));
    }
    if let Some(limits) = signed_in {
        let lifted = [
            (
                "max_sessions",
                limits.max_sessions,
                "hold every stream of the server",
            ),
            (
                "minutes_per_day",
                limits.minutes_per_day,
                "use it around the clock",
            ),
        ];
        for (name, limit, harm) in lifted {
            if limit.is_none() {
                warnings.push(format!(
                    "auth.users.{name} is \"unlimited\": whoever can make an account at the auth server can {harm}"
                ));
            }
        }
    }
    if let Some(issuer) = issuer.filter(|issuer| issuer.ends_with('/')) {
        warnings.push(format!(
            "auth.better_auth.issuer is {issuer:?}: it must be what the tokens name, letter for letter, and Better Auth writes its \
             baseURL without a slash at the end"
        ));
    }
    warnings
}
