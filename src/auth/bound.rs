//! The signed `session_token` cookie of Better Auth. A session cache without it could have been planted by a sibling site.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::reason::Reason;
use super::secrets::Secrets;

/// Checks that one of `cookies` (`token.base64hmac`, percent-decoded) is signed with a usable secret and names `expected`.
///
/// # Errors
/// [`Reason::SessionTokenMismatch`]: none of them is signed and names it.
pub(super) fn check(cookies: &[String], expected: Option<&str>, secrets: &Secrets) -> Result<(), Reason> {
    let is_bound = |cookie: &String| {
        let (token, signature) = cookie.rsplit_once('.')?;
        let signature = STANDARD.decode(signature).ok()?;
        let signed = secrets.usable().any(|secret| {
            Hmac::<Sha256>::new_from_slice(secret.bytes()).is_ok_and(|mut mac| {
                mac.update(token.as_bytes());
                mac.verify_slice(&signature).is_ok()
            })
        });
        (signed && expected == Some(token)).then_some(())
    };
    cookies
        .iter()
        .find_map(is_bound)
        .ok_or(Reason::SessionTokenMismatch)
}
