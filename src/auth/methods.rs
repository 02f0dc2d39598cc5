//! The authenticators, in the order they are tried. A new way to sign in is one more of them and one line in
//! `Guard::from_config`.

use std::sync::Arc;

use super::api_keys::ApiKeys;
use super::bound;
use super::claims::Identity;
use super::client_secrets::{ClientSecrets, is_client_secret};
use super::config::OnExpiry;
use super::cookie::{CookieNames, session_cookies};
use super::identity::{Method, Principal, PrincipalLimits, Scope};
use super::jwt::Verifier;
use super::key_source::KeySource;
use super::presented::{Carrier, Presented};
use super::reason::Reason;
use super::secrets::Secrets;
use super::tickets::{self, Tickets};

/// One check of one request.
pub(super) struct Attempt<'a> {
    pub presented: &'a Presented,
    /// Unix seconds.
    pub now: i64,
    /// The address failed too often, so that credentials that can be guessed are not accepted.
    pub throttled: bool,
}

/// Judges one kind of credential.
pub(super) trait Authenticator: Send + Sync {
    /// Returns the verdict on this kind of credential, or `None` if the request has none of this kind.
    fn authenticate(&self, attempt: &Attempt<'_>) -> Option<Result<Principal, (Reason, Method)>>;
}

impl Authenticator for ApiKeys {
    fn authenticate(&self, attempt: &Attempt<'_>) -> Option<Result<Principal, (Reason, Method)>> {
        let candidate = attempt.presented.chosen()?;
        let verdict = match self.find(candidate.credential.expose(), attempt.now) {
            Ok(found) if found.guessable && attempt.throttled => Err(Reason::Throttled),
            Ok(found) => Ok(found.principal),
            // It may still be a ticket or a token.
            Err(Reason::WrongKey) if !candidate.can_only_be_a_key() => return None,
            Err(Reason::KeysUnavailable) if candidate.has_other_form() => return None,
            Err(reason) => Err(reason),
        };
        Some(verdict.map_err(|reason| (reason, Method::ApiKey)))
    }
}

/// Tickets, wherever a token may stand.
pub(super) struct TicketAuth(pub Arc<Tickets>);

impl Authenticator for TicketAuth {
    fn authenticate(&self, attempt: &Attempt<'_>) -> Option<Result<Principal, (Reason, Method)>> {
        let id = attempt.presented.chosen()?.credential.expose();
        tickets::is_ticket(id).then(|| {
            self.0
                .redeem(id, attempt.now)
                .map_err(|reason| (reason, Method::Ticket))
        })
    }
}

/// Client secrets, wherever a token may stand.
pub(super) struct ClientSecretAuth(pub Arc<ClientSecrets>);

impl Authenticator for ClientSecretAuth {
    fn authenticate(&self, attempt: &Attempt<'_>) -> Option<Result<Principal, (Reason, Method)>> {
        let id = attempt.presented.chosen()?.credential.expose();
        is_client_secret(id).then(|| {
            self.0
                .find(id, attempt.now)
                .map_err(|reason| (reason, Method::ClientSecret))
        })
    }
}

/// Everything needed to judge Better Auth's tokens and cookies.
pub(super) struct BetterAuth {
    pub verifier: Verifier,
    pub secrets: Secrets,
    pub keys: Option<Arc<KeySource>>,
    pub names: CookieNames,
    pub bind_session_token: bool,
    pub max_token_bytes: usize,
    pub on_expiry: OnExpiry,
    pub max_session_s: u32,
    pub limits: PrincipalLimits,
}

impl BetterAuth {
    /// Judges a token that came in `carrier` at `now` (Unix seconds).
    pub(super) fn verify(
        &self,
        token: &str,
        carrier: Carrier,
        now: i64,
    ) -> Result<(Identity, Method), (Reason, Method)> {
        let set = self.keys.as_ref().map(|keys| keys.current());
        let method = match carrier {
            Carrier::Cookie => Method::Cookie,
            _ if self.verifier.has_secret() => Method::JwtSecret,
            _ => Method::JwtKeySet,
        };
        match self
            .verifier
            .verify(token, carrier, set.as_ref().and_then(|s| s.as_deref()), now)
        {
            // Before the first fetch any key is unknown.
            Err(Reason::AlgNotAllowed) if matches!(set, Some(None)) => Err((Reason::KeysUnavailable, method)),
            verdict => verdict.map_err(|reason| (reason, method)),
        }
    }

    /// Judges the session cookies, the bound one included; `None` if there is no session cache among them.
    pub(super) fn verify_cookies(
        &self,
        presented: &Presented,
        now: i64,
    ) -> Option<Result<(Identity, Method), (Reason, Method)>> {
        let fields = presented.cookies.iter().map(|field| field.0.as_slice());
        let cookies = session_cookies(fields, &self.names, self.max_token_bytes);
        let mut stale = None;
        for data in cookies.data {
            match self.verify_cache(data, &cookies.tokens, now) {
                // A genuine one of an earlier session gives way to the next; a forged one does not.
                Err((reason @ (Reason::Expired | Reason::SessionExpired), method)) => {
                    stale.get_or_insert((reason, method));
                }
                Err(fault) => return Some(Err(stale.unwrap_or(fault))),
                good => return Some(good),
            }
        }
        stale.map(Err)
    }

    /// Judges one session cache beside the `session_token` cookies that came with it.
    fn verify_cache(
        &self,
        data: Result<String, Reason>,
        tokens: &[String],
        now: i64,
    ) -> Result<(Identity, Method), (Reason, Method)> {
        let refuse = |reason| (reason, Method::Cookie);
        let (identity, method) = self.verify(&data.map_err(refuse)?, Carrier::Cookie, now)?;
        if self.bind_session_token {
            bound::check(tokens, identity.session_token.as_deref(), &self.secrets).map_err(refuse)?;
        }
        Ok((identity, method))
    }

    fn principal(&self, identity: Identity, method: Method, now: i64) -> Principal {
        let mut principal = Principal::new(
            format!("user:{}", identity.user_id).into(),
            method,
            Arc::new(Scope::CLIENT),
        );
        let ends = match self.on_expiry {
            OnExpiry::Token => Some(identity.exp),
            OnExpiry::Session => identity.session_ends,
        };
        let cap = now + i64::from(self.max_session_s);
        principal.ends_by = Some(cap);
        principal.expires_at = Some(ends.map_or(cap, |end| end.min(cap)));
        principal.session = identity.session_id.map(Into::into);
        principal.limits = self.limits;
        principal
    }
}

/// Signed tokens, wherever a credential may stand.
pub(super) struct TokenAuth(pub Arc<BetterAuth>);

impl Authenticator for TokenAuth {
    fn authenticate(&self, attempt: &Attempt<'_>) -> Option<Result<Principal, (Reason, Method)>> {
        let candidate = attempt.presented.chosen()?;
        if candidate.can_only_be_a_key() {
            return None;
        }
        let verdict = self
            .0
            .verify(candidate.credential.expose(), candidate.carrier, attempt.now);
        Some(verdict.map(|(identity, method)| self.0.principal(identity, method, attempt.now)))
    }
}

/// The session cookie, only where the client chose no other credential.
pub(super) struct CookieAuth(pub Arc<BetterAuth>);

impl Authenticator for CookieAuth {
    fn authenticate(&self, attempt: &Attempt<'_>) -> Option<Result<Principal, (Reason, Method)>> {
        if attempt.presented.chosen().is_some() {
            return None;
        }
        let verdict = self.0.verify_cookies(attempt.presented, attempt.now)?;
        Some(verdict.map(|(identity, method)| self.0.principal(identity, method, attempt.now)))
    }
}
