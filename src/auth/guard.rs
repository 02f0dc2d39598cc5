//! The one door: judges a request's credentials, counts failures, and hands out principals, tickets and leases.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header;
use axum::http::request::Parts;

use super::api_keys::ApiKeys;
use super::config::AuthConfig;
use super::identity::{Method, Principal, Scope};
use super::jwt::Verifier;
use super::key_file::KeyFileError;
use super::key_source::{KeySource, KeySourceError};
use super::key_watch::WatchedKeys;
use super::leases::{Lease, Ledger};
use super::methods::{Attempt, Authenticator, BetterAuth, CookieAuth, TicketAuth, TokenAuth};
use super::origin::{OriginError, Origins, is_same_origin, own_origin};
use super::presented::{Credential, Presented, selected_subprotocol};
use super::reason::Reason;
use super::refusal::Refusal;
use super::secrets::{SecretError, Secrets};
use super::throttle::Throttle;
use super::tickets::{Ticket, Tickets};

/// Why the server must not start with these settings.
#[derive(Debug, thiserror::Error)]
pub enum AuthConfigError {
    #[error(transparent)]
    Secret(#[from] SecretError),
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    #[error(transparent)]
    KeySet(#[from] KeySourceError),
    #[error(transparent)]
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

/// Judges every request.
pub struct Guard {
    methods: Vec<Box<dyn Authenticator>>,
    keys: Option<Arc<KeySource>>,
    key_file: Option<Arc<WatchedKeys>>,
    tickets: Arc<Tickets>,
    throttle: Throttle,
    origins: Origins,
    ledger: Ledger,
}

impl Guard {
    /// Builds the guard from `[auth]`, the keys in `authorized_ids`, the allowed web origins and the environment.
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
        if api_keys.guessable() > 0 {
            tracing::warn!(
                keys = api_keys.guessable(),
                "some API keys have under 16 characters and could be guessed"
            );
        }
        let key_file = api_keys.file();
        let tickets = Arc::new(Tickets::default());
        let mut methods: Vec<Box<dyn Authenticator>> = Vec::new();
        if !api_keys.is_empty() {
            methods.push(Box::new(api_keys));
        }
        if !secrets.is_empty() || keys.is_some() {
            let better_auth = Arc::new(BetterAuth {
                verifier: Verifier::new(&secrets, settings.rules(), settings.max_token_bytes),
                secrets,
                keys: keys.clone(),
                names: settings.cookie_names(),
                bind_session_token: settings.bind_session_token,
                max_token_bytes: settings.max_token_bytes,
                on_expiry: config.on_expiry,
                max_session_s: config.max_session_s,
                limits: config.users,
            });
            methods.push(Box::new(TicketAuth(Arc::clone(&tickets))));
            methods.push(Box::new(TokenAuth(Arc::clone(&better_auth))));
            methods.push(Box::new(CookieAuth(better_auth)));
        } else if !methods.is_empty() {
            methods.push(Box::new(TicketAuth(Arc::clone(&tickets))));
        }
        Ok(Self {
            methods,
            keys,
            key_file,
            tickets,
            throttle: Throttle::new(config.failures_per_minute),
            origins: Origins::new(allowed_origins.iter().cloned())?,
            ledger: Ledger::default(),
        })
    }

    /// Whether no credential is configured: everyone is `anonymous`, and the server may listen on loopback only.
    pub fn is_open(&self) -> bool {
        self.methods.is_empty()
    }

    /// Judges a request from the client at `peer` at `now` (Unix seconds).
    pub async fn check(&self, parts: &Parts, peer: SocketAddr, now: i64) -> Result<Principal, Refusal> {
        let presented = Presented::from_parts(parts);
        let mut principal = self.judge(&presented, &parts.headers, peer, now).await?;
        principal.subprotocol = selected_subprotocol(&parts.headers);
        Ok(principal)
    }

    /// As [`Guard::check`], for the operator's routes: the principal must be an administrator. On an open server nobody is.
    pub async fn check_admin(&self, parts: &Parts, peer: SocketAddr, now: i64) -> Result<Principal, Refusal> {
        let principal = self.check(parts, peer, now).await?;
        principal
            .may(Scope::Admin)
            .map_err(|reason| Refusal::new(reason, principal.method))?;
        Ok(principal)
    }

    /// Judges a newer token that the client of a running session sent; it must be of the same subject.
    pub async fn renew(
        &self,
        running: &Principal,
        token: Credential,
        peer: SocketAddr,
        now: i64,
    ) -> Result<Principal, Refusal> {
        let presented = Presented {
            bearer: Some(token),
            ..Presented::default()
        };
        let mut renewed = self.judge(&presented, &HeaderMap::new(), peer, now).await?;
        if renewed.subject != running.subject {
            return Err(Refusal::new(Reason::WrongKey, renewed.method));
        }
        renewed.subprotocol = running.subprotocol;
        Ok(renewed)
    }

    /// Makes a single-use ticket for a client that was let in.
    pub fn ticket(&self, principal: &Principal, now: i64) -> Result<Ticket, Refusal> {
        self.tickets
            .issue(principal, now)
            .map_err(|reason| Refusal::new(reason, principal.method))
    }

    /// Opens a session in the ledger of minutes.
    pub fn lease(&self, principal: &Principal, now: i64) -> Result<Lease, Refusal> {
        self.ledger.lease(principal, now).map_err(|reason| Refusal {
            retry_after_s: u32::try_from(86_400 - now.rem_euclid(86_400)).ok(),
            ..Refusal::new(reason, principal.method)
        })
    }

    /// Where the public keys come from, if any are used.
    pub fn keys(&self) -> Option<&KeySource> {
        self.keys.as_deref()
    }

    /// Since when the key file cannot be used, in Unix seconds, seen at `now`.
    pub fn key_file_failing_since(&self, now: i64) -> Option<i64> {
        let file = self.key_file.as_ref()?;
        file.look(now);
        file.failing_since()
    }

    /// The web origins allowed to use cookies and read answers.
    pub fn origins(&self) -> &Origins {
        &self.origins
    }

    async fn judge(
        &self,
        presented: &Presented,
        headers: &HeaderMap,
        peer: SocketAddr,
        now: i64,
    ) -> Result<Principal, Refusal> {
        let wait = self.throttle.wait(peer.ip(), now);
        let mut verdict = self.verdict(presented, headers, wait.is_some(), now);
        if let Some(keys) = &self.keys {
            if matches!(
                verdict,
                Err(Refusal {
                    reason: Reason::UnknownKey | Reason::KeysUnavailable,
                    ..
                })
            ) {
                keys.refresh(now).await;
                verdict = self.verdict(presented, headers, wait.is_some(), now);
            } else if keys.is_stale(now) && tokio::runtime::Handle::try_current().is_ok() {
                let keys = Arc::clone(keys);
                tokio::spawn(async move { keys.refresh(now).await });
            }
        }
        verdict.map_err(|refusal| {
            // Coming without credentials is how a browser begins, not an attempt.
            if refusal.reason == Reason::NoCredentials {
                return refusal;
            }
            self.throttle.failed(peer.ip(), now);
            tracing::debug!(
                method = refusal.method.label(),
                reason = refusal.reason.label(),
                "credential refused"
            );
            match wait {
                Some(seconds) => Refusal {
                    reason: Reason::Throttled,
                    retry_after_s: Some(seconds),
                    ..refusal
                },
                None => refusal,
            }
        })
    }

    fn verdict(
        &self,
        presented: &Presented,
        headers: &HeaderMap,
        throttled: bool,
        now: i64,
    ) -> Result<Principal, Refusal> {
        let origin = headers.get(header::ORIGIN).map(|value| value.as_bytes());
        let own = || own_origin(headers);
        if self.is_open() {
            let allowed = self.origins.check_anonymous(origin, own().as_deref());
            return allowed
                .map(|()| Principal::anonymous())
                .map_err(|reason| Refusal::new(reason, Method::Anonymous));
        }
        let attempt = Attempt {
            presented,
            now,
            throttled,
        };
        let verdict = self
            .methods
            .iter()
            .find_map(|method| method.authenticate(&attempt));
        let nothing = if presented.is_explicit() {
            (Reason::WrongKey, Method::ApiKey)
        } else {
            (Reason::NoCredentials, Method::Anonymous)
        };
        let principal = verdict
            .unwrap_or(Err(nothing))
            .map_err(|(reason, method)| Refusal::new(reason, method))?;
        if principal.method == Method::Cookie {
            let own = own();
            // A page's plain GET to its own server has no Origin; the browser says so in a header no page can set.
            let page = match origin {
                None if is_same_origin(headers) => own.as_deref().map(str::as_bytes),
                origin => origin,
            };
            self.origins
                .check(page, own.as_deref())
                .map_err(|reason| Refusal::new(reason, Method::Cookie))?;
        }
        principal
            .may(Scope::Listen)
            .map_err(|reason| Refusal::new(reason, principal.method))?;
        Ok(principal)
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
