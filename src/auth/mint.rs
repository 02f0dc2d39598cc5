//! Mints development tokens, with the flat claims that a custom endpoint of the auth server would use.

use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::json;

use super::secrets::Secrets;

/// What a token is to say.
#[derive(Clone, Debug)]
pub struct TokenRequest {
    pub user_id: String,
    pub session_id: String,
    /// Life of the token in seconds.
    pub life_s: i64,
    pub audience: Option<String>,
}

#[derive(Debug, thiserror::Error)]
pub enum MintError {
    #[error("no usable secret: set BETTER_AUTH_SECRET to the auth server's (32 bytes or more)")]
    NoSecret,
    #[error("cannot sign: {0}")]
    Sign(#[from] jsonwebtoken::errors::Error),
}

/// Signs a token with the current secret at `now` (Unix seconds).
///
/// # Errors
/// There is no usable secret, or the signing fails.
pub fn mint(request: &TokenRequest, secrets: &Secrets, now: i64) -> Result<String, MintError> {
    let secret = secrets.usable().next().ok_or(MintError::NoSecret)?;
    let end = now.saturating_add(request.life_s);
    let mut claims = json!({
        "id": request.session_id, "userId": request.user_id, "createdAt": now, "updatedAt": now, "expiresAt": end, "iat": now, "exp": end,
    });
    if let Some(audience) = &request.audience {
        claims["aud"] = json!(audience);
    }
    Ok(encode(
        &Header::new(Algorithm::HS256),
        &claims,
        &EncodingKey::from_secret(secret.bytes()),
    )?)
}
