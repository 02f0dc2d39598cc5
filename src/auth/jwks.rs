//! The auth server's public keys: each pinned to one algorithm.

use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey};
use serde_json::Value;

/// Most keys taken from a set; Better Auth keeps retired ones for 30 days.
const MAX_KEYS: usize = 100;

/// A mistake in a key set.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeySetError {
    #[error("the key set is not JSON of the form {{\"keys\": […]}}")]
    Form,
    #[error("the key set has no usable key: EdDSA (Ed25519), ES256 and RS256 keys with a `kid` are")]
    Empty,
}

pub(super) struct PublicKey {
    kid: String,
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
}

impl PublicKey {
    /// Returns the algorithm as a token's header spells it.
    pub(super) fn name(&self) -> &'static str {
        match self.algorithm {
            Algorithm::EdDSA => "EdDSA",
            Algorithm::ES256 => "ES256",
            _ => "RS256",
        }
    }
}

/// A set of public keys.
pub struct KeySet(Vec<PublicKey>);

impl KeySet {
    /// Reads a JSON Web Key Set (RFC 7517). Keys of other kinds, symmetric ones above all, are left out.
    ///
    /// # Errors
    /// The text is no key set, or holds no usable key.
    pub fn parse(text: &str) -> Result<Self, KeySetError> {
        let set: Value = serde_json::from_str(text).map_err(|_| KeySetError::Form)?;
        let keys = set
            .get("keys")
            .and_then(Value::as_array)
            .ok_or(KeySetError::Form)?;
        let keys: Vec<PublicKey> = keys.iter().take(MAX_KEYS).filter_map(public_key).collect();
        if keys.is_empty() {
            Err(KeySetError::Empty)
        } else {
            Ok(Self(keys))
        }
    }

    pub(super) fn find(&self, kid: &str) -> Option<&PublicKey> {
        self.0.iter().find(|key| key.kid == kid)
    }

    /// Number of usable keys.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

fn public_key(value: &Value) -> Option<PublicKey> {
    let jwk: Jwk = serde_json::from_value(value.clone()).ok()?;
    if matches!(jwk.common.public_key_use, Some(PublicKeyUse::Encryption)) {
        return None;
    }
    let (algorithm, name) = match &jwk.algorithm {
        AlgorithmParameters::OctetKeyPair(pair) if pair.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        _ => return None,
    };
    // A key that names its algorithm is good for no other.
    if jwk.common.key_algorithm.is_some_and(|named| named != name) {
        return None;
    }
    Some(PublicKey {
        kid: jwk.common.key_id.clone()?,
        algorithm,
        key: DecodingKey::from_jwk(&jwk).ok()?,
    })
}
