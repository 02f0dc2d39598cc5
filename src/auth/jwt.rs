//! Verifies signed tokens: size, form, algorithm, signature, then the claims. The library checks signatures only; its
//! own time checks read the system clock, allow a minute and ignore `nbf`, `iat` and `crit`.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, crypto};
use serde_json::Value;

use super::claims::{self, ClaimRules, Identity, Kind};
use super::identity::Method;
use super::jwks::KeySet;
use super::presented::Carrier;
use super::reason::Reason;
use super::secrets::Secrets;

/// Largest token by default: several times what Node's 16 kB of headers let Better Auth send, and less than a request head may have.
pub(super) const MAX_TOKEN_BYTES: usize = 48 << 10;
/// `typ` of a session cache that is signed with a key of the key set.
const CACHE_TYPE: &str = "better-auth.session-cache+jwt";

/// Checks tokens against the secrets and the rules.
pub(super) struct Verifier {
    keys: Vec<DecodingKey>,
    /// Secrets are configured, and all are too weak to use.
    only_weak_secrets: bool,
    rules: ClaimRules,
    max_token_bytes: usize,
}

impl Verifier {
    pub(super) fn new(secrets: &Secrets, rules: ClaimRules, max_token_bytes: usize) -> Self {
        let keys: Vec<DecodingKey> = secrets
            .usable()
            .map(|s| DecodingKey::from_secret(s.bytes()))
            .collect();
        Self {
            only_weak_secrets: keys.is_empty() && !secrets.is_empty(),
            keys,
            rules,
            max_token_bytes,
        }
    }

    /// Returns whether tokens signed with a shared secret can be checked.
    pub(super) fn has_secret(&self) -> bool {
        !self.keys.is_empty()
    }

    /// Checks `token` at `now` (Unix seconds) against the secrets, or against `set` if it names a key.
    ///
    /// # Errors
    /// The first check that the token fails.
    pub(super) fn verify(
        &self,
        token: &str,
        carrier: Carrier,
        set: Option<&KeySet>,
        now: i64,
    ) -> Result<(Identity, Method), Reason> {
        if token.len() > self.max_token_bytes {
            return Err(Reason::TooLarge);
        }
        let (message, signature) = token.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = message.split_once('.').ok_or(Reason::Malformed)?;
        if payload.contains('.') {
            return Err(Reason::Malformed);
        }
        let header = json(header)?;
        let header = header.as_object().ok_or(Reason::Malformed)?;
        let algorithm = header
            .get("alg")
            .and_then(Value::as_str)
            .ok_or(Reason::Malformed)?;
        if header.contains_key("crit") || signature.contains('=') {
            return Err(Reason::Malformed);
        }
        let message = message.as_bytes();
        let (kind, method) = match (algorithm, set) {
            ("HS256", _) => {
                self.verify_secret(message, signature)?;
                (Kind::Secret, Method::JwtSecret)
            }
            ("EdDSA" | "ES256" | "RS256", Some(set)) => {
                let kind = match (header.get("typ"), carrier) {
                    (Some(Value::String(typ)), _) if typ == CACHE_TYPE => Kind::SignedCache,
                    // In the session cache's cookie only a session cache may stand.
                    (_, Carrier::Cookie) => return Err(Reason::Malformed),
                    (None, _) => Kind::Plugin,
                    (Some(Value::String(typ)), _) if typ.eq_ignore_ascii_case("JWT") => Kind::Plugin,
                    (Some(_), _) => return Err(Reason::Malformed),
                };
                let kid = header
                    .get("kid")
                    .and_then(Value::as_str)
                    .ok_or(Reason::UnknownKey)?;
                let key = set.find(kid).ok_or(Reason::UnknownKey)?;
                // The key's own algorithm decides; the header may only agree.
                if key.name() != algorithm {
                    return Err(Reason::AlgNotAllowed);
                }
                if !signed(signature, message, &key.key, key.algorithm) {
                    return Err(Reason::BadSignature);
                }
                (kind, Method::JwtKeySet)
            }
            _ => return Err(Reason::AlgNotAllowed),
        };
        let identity = claims::check(&json(payload)?, kind, &self.rules, now)?;
        Ok((
            identity,
            if carrier == Carrier::Cookie {
                Method::Cookie
            } else {
                method
            },
        ))
    }

    fn verify_secret(&self, message: &[u8], signature: &str) -> Result<(), Reason> {
        if self.only_weak_secrets {
            return Err(Reason::SecretUnusable);
        }
        if self.keys.is_empty() {
            return Err(Reason::AlgNotAllowed);
        }
        if self
            .keys
            .iter()
            .any(|key| signed(signature, message, key, Algorithm::HS256))
        {
            Ok(())
        } else {
            Err(Reason::BadSignature)
        }
    }
}

fn signed(signature: &str, message: &[u8], key: &DecodingKey, algorithm: Algorithm) -> bool {
    crypto::verify(signature, message, key, algorithm).unwrap_or(false)
}

fn json(part: &str) -> Result<Value, Reason> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed)?;
    serde_json::from_slice(&bytes).map_err(|_| Reason::Malformed)
}
