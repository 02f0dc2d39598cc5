//! Signing tokens of any form, and asking the guard about requests.

pub mod better_auth;
pub mod worker;

use std::net::SocketAddr;

use axum::http::Request;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use moshi_server::auth::inspect::{Inspection, Inspector, Subject};
use moshi_server::auth::{AuthConfig, BetterAuthConfig, Guard, Principal, Reason, Refusal, Scope, Secrets};
use serde_json::{Value, json};
use sha2::Sha256;

pub const SECRET: &str = "a-secret-of-the-tests-with-more-than-32-bytes";
/// An API key that nobody guesses.
pub const KEY: &str = "a-long-enough-api-key";
/// The clock of the tests, Unix seconds.
pub const NOW: i64 = 1_800_000_000;

pub fn sign(header: &Value, claims: &Value, secret: &str) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
    mac.update(message.as_bytes());
    format!(
        "{message}.{}",
        URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    )
}

/// A token under the shared secret.
pub fn token(claims: &Value) -> String {
    sign(&json!({"alg": "HS256"}), claims, SECRET)
}

/// Better Auth's own claims, good at [`NOW`].
pub fn nested() -> Value {
    json!({
        "session": {"id": "s1", "userId": "u1", "token": "t1", "expiresAt": "2027-02-01T00:00:00.000Z"},
        "user": {"id": "u1", "emailVerified": false},
        "updatedAt": NOW * 1000, "version": "1", "iat": NOW, "exp": NOW + 300,
    })
}

/// The documented flat claims, good at [`NOW`].
pub fn flat() -> Value {
    json!({"id": "s1", "userId": "u1", "expiresAt": NOW + 1000, "iat": NOW, "exp": NOW + 60})
}

/// `claims` with `path` (dotted) set to `value`, or removed if that is null.
pub fn with(mut claims: Value, path: &str, value: Value) -> Value {
    let mut at = &mut claims;
    let (parents, last) = path.rsplit_once('.').map_or((None, path), |(p, l)| (Some(p), l));
    for name in parents.into_iter().flat_map(|p| p.split('.')) {
        at = &mut at[name];
    }
    if value.is_null() {
        at.as_object_mut().unwrap().remove(last);
    } else {
        at[last] = value;
    }
    claims
}

pub fn inspect(token: &str, settings: BetterAuthConfig) -> Inspection {
    let secrets = Secrets::from_env(|name| (name == "BETTER_AUTH_SECRET").then(|| SECRET.to_owned()));
    Inspector {
        settings,
        secrets,
        keys: None,
        origin: None,
    }
    .inspect(Subject::Token(token.to_owned()), NOW)
}

/// The reason for which `claims` are refused, or `accept`.
pub fn judge(claims: &Value) -> String {
    let got = inspect(&token(claims), BetterAuthConfig::default());
    got.reason.unwrap_or(got.verdict).to_owned()
}

/// A guard that knows the secret and one API key.
pub fn guard(config: &AuthConfig, origins: &[&str]) -> Guard {
    let origins: Vec<String> = origins.iter().map(|o| (*o).to_owned()).collect();
    Guard::from_config(config, &[KEY.to_owned(), "short".to_owned()], &origins, |name| {
        (name == "BETTER_AUTH_SECRET").then(|| SECRET.to_owned())
    })
    .unwrap()
}

/// The address of the client.
pub fn peer() -> SocketAddr {
    ([203, 0, 113, 7], 1).into()
}

/// What the guard says to a listener's request at [`NOW`].
pub async fn ask(guard: &Guard, uri: &str, headers: &[(&str, &str)]) -> Result<Principal, Refusal> {
    let request = request(uri, headers);
    guard.check(&request, peer(), Scope::Listen, NOW).await
}

/// Why the guard refuses such a request.
pub async fn reason(guard: &Guard, uri: &str, headers: &[(&str, &str)]) -> Reason {
    ask(guard, uri, headers).await.unwrap_err().reason
}

pub fn request(uri: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = Request::builder().uri(uri).header("host", "app.example");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}
