//! The guard: checks the credentials of a request, counts failures, and gives out principals, tickets and usage leases.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::HeaderMap;
use axum::http::header;
use axum::http::request::Parts;

use super::client_secrets::{ClientSecret, ClientSecrets};
use super::identity::{Method, Principal, Scope};
use super::key_source::KeySource;
use super::key_watch::WatchedKeys;
use super::methods::{Attempt, Authenticator};
use super::origin::{Origins, is_same_origin, own_origin};
use super::presented::{Presented, selected_subprotocol};
use super::reason::Reason;
use super::refusal::Refusal;
use super::throttle::Throttle;
use super::tickets::{Ticket, Tickets};
use super::usage::{Ledger, UsageLease};
use crate::stream::secret::Secret;

/// Checks the credentials of every request.
pub struct Guard {
    pub(super) methods: Vec<Box<dyn Authenticator>>,
    pub(super) keys: Option<Arc<KeySource>>,
    pub(super) key_file: Option<Arc<WatchedKeys>>,
    pub(super) tickets: Arc<Tickets>,
    pub(super) client_secrets: Arc<ClientSecrets>,
    pub(super) throttle: Throttle,
    pub(super) origins: Origins,
    pub(super) ledger: Ledger,
    pub(super) warnings: Vec<String>,
}

impl Guard {
    /// Returns what is legal in the settings and probably not meant.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns whether no credential is configured: everyone is `anonymous`, and the server may listen on loopback only.
    pub fn is_open(&self) -> bool {
        self.methods.is_empty()
    }

    /// Judges a request from the client at `peer` at `now` (Unix seconds), for a route that takes the scope `needs`.
    ///
    /// # Errors
    /// The credentials are missing, wrong or not heard now, or their owner lacks the scope. On an open server nobody is an
    /// administrator.
    pub async fn check(
        &self,
        parts: &Parts,
        peer: SocketAddr,
        needs: Scope,
        now: i64,
    ) -> Result<Principal, Refusal> {
        self.check_any(parts, peer, &[needs], now).await
    }

    /// The same, for a route that takes any of the scopes `needs`.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub async fn check_any(
        &self,
        parts: &Parts,
        peer: SocketAddr,
        needs: &[Scope],
        now: i64,
    ) -> Result<Principal, Refusal> {
        let presented = Presented::from_parts(parts);
        let mut principal = self.judge(&presented, &parts.headers, peer, now).await?;
        principal
            .may(needs)
            .map_err(|reason| Refusal::new(reason, principal.method))?;
        principal.subprotocol = selected_subprotocol(&parts.headers);
        Ok(principal)
    }

    /// Judges a newer token that the client of a running session sent. It cannot make the session longer than
    /// `max_session_s` from its own start.
    ///
    /// # Errors
    /// The token is refused, or is of another subject.
    pub async fn renew(
        &self,
        running: &Principal,
        token: Secret,
        peer: SocketAddr,
        now: i64,
    ) -> Result<Principal, Refusal> {
        let presented = Presented::alone(token);
        let mut renewed = self.judge(&presented, &HeaderMap::new(), peer, now).await?;
        if renewed.subject != running.subject {
            return Err(Refusal::new(Reason::WrongKey, renewed.method));
        }
        renewed.subprotocol = running.subprotocol;
        renewed.ends_by = running.ends_by;
        renewed.expires_at = renewed.expires_at.into_iter().chain(running.ends_by).min();
        Ok(renewed)
    }

    /// Makes a single-use ticket for a client that was let in.
    ///
    /// # Errors
    /// The client came with a ticket itself, or has too many unused ones.
    pub fn ticket(&self, principal: &Principal, now: i64) -> Result<Ticket, Refusal> {
        self.tickets
            .issue(principal, now)
            .map_err(|reason| Refusal::new(reason, principal.method))
    }

    /// Makes a client secret for a client that was let in, good for `life_s` seconds; what it opens begins with `settings`.
    ///
    /// # Errors
    /// The client came with a ticket or a client secret itself, or has too many of them.
    pub fn client_secret(
        &self,
        principal: &Principal,
        settings: Option<String>,
        life_s: u32,
        now: i64,
    ) -> Result<ClientSecret, Refusal> {
        self.client_secrets
            .issue(principal, settings, life_s, now)
            .map_err(|reason| Refusal::new(reason, principal.method))
    }

    /// Opens a session of `principal`, whose minutes of the day count from `now` (Unix seconds) on.
    ///
    /// # Errors
    /// The minutes are used up.
    pub fn lease(&self, principal: &Principal, now: i64) -> Result<UsageLease, Refusal> {
        self.ledger.lease(principal, now).map_err(|reason| Refusal {
            retry_after_s: u32::try_from(86_400 - now.rem_euclid(86_400)).ok(),
            ..Refusal::new(reason, principal.method)
        })
    }

    /// Returns where the public keys come from, if any are used.
    pub fn keys(&self) -> Option<&KeySource> {
        self.keys.as_deref()
    }

    /// Looks at the key file at `now` and returns since when it cannot be used, if it cannot (both in Unix seconds).
    pub fn key_file_failing_since(&self, now: i64) -> Option<i64> {
        let file = self.key_file.as_ref()?;
        file.look(now);
        file.failing_since()
    }

    /// Returns the web origins that may use cookies and read answers.
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
            let is_attempt = match refusal.reason {
                // Not an attempt: a browser asks without credentials first.
                Reason::NoCredentials => false,
                // A token that cannot be checked now says nothing about its sender. An unknown key may be a guess.
                Reason::KeysUnavailable => refusal.method == Method::ApiKey,
                _ => true,
            };
            if !is_attempt {
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
        let nothing = if presented.chosen().is_some() {
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
        Ok(principal)
    }
}
