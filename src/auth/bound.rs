//! The second cookie: Better Auth's signed `session_token`, which proves that the session cache was not planted alone.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::reason::Reason;
use super::secrets::Secrets;

/// Checks that `cookie` (`token.base64hmac`, percent-decoded) is signed with a usable secret and names `expected`.
pub(super) fn check(cookie: Option<&str>, expected: Option<&str>, secrets: &Secrets) -> Result<(), Reason> {
    let mismatch = Reason::SessionTokenMismatch;
    let (token, signature) = cookie.and_then(|c| c.rsplit_once('.')).ok_or(mismatch)?;
    let signature = STANDARD.decode(signature).map_err(|_| mismatch)?;
    let signed = secrets.usable().any(|secret| {
        Hmac::<Sha256>::new_from_slice(secret.bytes()).is_ok_and(|mut mac| {
            mac.update(token.as_bytes());
            mac.verify_slice(&signature).is_ok()
        })
    });
    if signed && expected == Some(token) {
        Ok(())
    } else {
        Err(mismatch)
    }
}
