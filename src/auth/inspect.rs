//! `token inspect`: the server's own checks, with the reason that it never tells a client.

use std::sync::Arc;

use serde::Serialize;

use super::config::{AuthConfig, BetterAuthConfig};
use super::cookie::session_cookies;
use super::identity::Method;
use super::jwt::Verifier;
use super::key_source::KeySource;
use super::methods::BetterAuth;
use super::origin::Origins;
use super::presented::{Carrier, CookieField, Presented};
use super::reason::Reason;
use super::secrets::{SecretError, Secrets};

/// What to judge.
pub enum Subject {
    Token(String),
    /// The `Cookie` fields of one request.
    Cookies(Vec<Vec<u8>>),
}

/// The verdict, for people and programs.
#[derive(Debug, Serialize)]
pub struct Inspection {
    pub verdict: &'static str,
    /// The check that failed.
    pub reason: Option<&'static str>,
    pub method: &'static str,
    pub user_id: Option<String>,
    pub session_id: Option<String>,
    /// End of the token and of the session, Unix seconds.
    pub expires_at: Option<i64>,
    pub session_expires_at: Option<i64>,
    /// What to change.
    pub advice: Option<String>,
}

/// What to judge by.
pub struct Inspector {
    pub settings: BetterAuthConfig,
    pub secrets: Result<Secrets, SecretError>,
    pub keys: Option<KeySource>,
    /// The `Origin` of the request and the list of allowed ones; `None` to leave it unchecked.
    pub origin: Option<(Option<String>, Origins)>,
}

impl Inspector {
    /// Judges `subject` at `now` (Unix seconds).
    pub fn inspect(self, subject: Subject, now: i64) -> Inspection {
        let secrets = match self.secrets {
            Ok(secrets) => secrets,
            Err(error) => return refused(Reason::SecretUnusable, Method::JwtSecret, error.to_string()),
        };
        let unusable = secrets.check().err();
        let defaults = AuthConfig::default();
        let better_auth = BetterAuth {
            verifier: Verifier::new(&secrets, self.settings.rules(), self.settings.max_token_bytes),
            secrets,
            keys: self.keys.map(Arc::new),
            names: self.settings.cookie_names(),
            bind_session_token: self.settings.bind_session_token,
            max_token_bytes: self.settings.max_token_bytes,
            on_expiry: defaults.on_expiry,
            max_session_s: defaults.max_session_s,
            limits: defaults.users.of_each(),
        };
        let verdict = match &subject {
            Subject::Token(token) => better_auth.verify(token, Carrier::Authorization, now),
            Subject::Cookies(fields) => {
                let cookies = fields.iter().cloned().map(CookieField).collect();
                let presented = Presented {
                    cookies,
                    ..Presented::default()
                };
                better_auth
                    .verify_cookies(&presented, now)
                    .unwrap_or(Err((Reason::NoCredentials, Method::Cookie)))
            }
        };
        let verdict = verdict.and_then(|(identity, method)| match &self.origin {
            Some((origin, allowed)) if method == Method::Cookie => {
                let checked = allowed.check(origin.as_ref().map(String::as_bytes), None);
                checked
                    .map(|()| (identity, method))
                    .map_err(|reason| (reason, method))
            }
            _ => Ok((identity, method)),
        });
        match verdict {
            Ok((identity, method)) => Inspection {
                verdict: "accept",
                reason: None,
                method: method.label(),
                user_id: Some(identity.user_id),
                session_id: identity.session_id,
                expires_at: Some(identity.exp),
                session_expires_at: identity.session_ends,
                advice: None,
            },
            Err((reason, method)) => {
                let advice = match (reason, unusable) {
                    (Reason::SecretUnusable, Some(error)) => error.to_string(),
                    _ => advice(reason, &subject, &self.settings),
                };
                refused(reason, method, advice)
            }
        }
    }
}

fn refused(reason: Reason, method: Method, advice: String) -> Inspection {
    Inspection {
        verdict: "reject",
        reason: Some(reason.label()),
        method: method.label(),
        user_id: None,
        session_id: None,
        expires_at: None,
        session_expires_at: None,
        advice: Some(advice),
    }
}

// Recognises the usual mistakes by the form of the credential.
fn advice(reason: Reason, subject: &Subject, settings: &BetterAuthConfig) -> String {
    let special = match (reason, subject) {
        (Reason::Malformed, Subject::Token(token)) => shape(token).map(str::to_owned),
        (Reason::Malformed, Subject::Cookies(fields)) => {
            let read = session_cookies(
                fields.iter().map(Vec::as_slice),
                &settings.cookie_names(),
                settings.max_token_bytes,
            );
            let mut readable = read.data.iter().flatten();
            readable.find_map(|data| shape(data)).map(str::to_owned)
        }
        (Reason::NoCredentials, Subject::Cookies(fields)) => other_name(fields, settings),
        _ => None,
    };
    special.unwrap_or_else(|| reason.advice().to_owned())
}

fn shape(token: &str) -> Option<&'static str> {
    match token.split('.').count() {
        1 if token.len() == 32 => Some(
            "this is an opaque session token (session.token), not a JWT: only the auth server can look it up. Send a minted \
             token, or the session_data cookie",
        ),
        1 if token.starts_with("eyJ") => Some(
            "this is a session cache of the `compact` strategy, which cannot be checked here: set \
             session.cookieCache.strategy to \"jwt\" at the auth server",
        ),
        2 if token.ends_with('=') || token.ends_with("%3D") => Some(
            "this is a signed session token (cookie session_token, header set-auth-token): it names no user and no expiry. \
             Send the session_data cookie, or a minted token",
        ),
        5 => Some(
            "this is a session cache of the `jwe` strategy, which is encrypted: set session.cookieCache.strategy to \"jwt\" \
             at the auth server",
        ),
        _ => None,
    }
}

fn other_name(fields: &[Vec<u8>], settings: &BetterAuthConfig) -> Option<String> {
    let expected = settings.cookie_names().session_data;
    let texts: Vec<_> = fields
        .iter()
        .map(|field| String::from_utf8_lossy(field))
        .collect();
    let names = texts
        .iter()
        .flat_map(|text| text.split(';'))
        .filter_map(|c| c.split_once('='))
        .map(|(name, _)| name.trim());
    let found = names
        .map(|name| {
            name.trim_end_matches(|c: char| c.is_ascii_digit())
                .trim_end_matches('.')
        })
        .find(|name| {
            let plain = name.strip_prefix("__Secure-").unwrap_or(name);
            plain.ends_with(".session_data") && (plain != expected || !name.starts_with("__Secure-"))
        })?;
    let plain = found.strip_prefix("__Secure-").unwrap_or(found);
    if plain != expected {
        return Some(format!(
            "the cookie is named {found:?} but {expected:?} is expected: set cookie_prefix to the auth server's advanced.cookiePrefix"
        ));
    }
    settings.require_secure_cookie.then(|| {
        "the cookie lacks the __Secure- prefix: give the auth server an https baseURL, or turn require_secure_cookie off".to_owned()
    })
}
