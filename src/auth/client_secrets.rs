//! Client secrets: credentials that a backend has made for a page, good for some minutes and as many sockets as its own limits allow.
//! Unlike a ticket, one survives a reconnection. Kept in this process alone.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::identity::{Method, Principal, Scope};
use super::reason::Reason;
use crate::stream::secret::Secret;

/// Starts every client secret. OpenAI's clients refuse to send anything else from a page.
const PREFIX: &str = "ek_";
/// Life of a client secret in seconds: by default, and the least and the most that may be asked for.
pub const DEFAULT_LIFE_S: u32 = 600;
pub const LIFE_S: std::ops::RangeInclusive<u32> = 10..=7200;
const MAX_SECRETS: usize = 10_000;
const MAX_PER_SUBJECT: usize = 1_000;

/// Client secrets by their SHA-256, each with whom it stands for and when it ends.
#[derive(Default)]
pub(super) struct ClientSecrets(Mutex<HashMap<[u8; 32], (Principal, i64)>>);

/// A client secret to hand out.
#[derive(Debug)]
pub struct ClientSecret {
    pub id: Secret,
    /// Unix seconds.
    pub expires_at: i64,
}

/// Returns whether a credential has the form of a client secret.
pub(super) fn is_client_secret(credential: &str) -> bool {
    credential.starts_with(PREFIX)
}

impl ClientSecrets {
    /// Makes a secret that stands for `principal` where it may listen, good for `life_s` from `now` on, and no longer than the
    /// principal's own credential. What it opens begins with `settings`.
    ///
    /// # Errors
    /// The principal came with a ticket or a client secret itself, or has too many of them.
    pub(super) fn issue(
        &self,
        principal: &Principal,
        settings: Option<String>,
        life_s: u32,
        now: i64,
    ) -> Result<ClientSecret, Reason> {
        // Or one could be exchanged for the next without end.
        if principal.method.is_derived() {
            return Err(Reason::MissingScope);
        }
        let mut secrets = self.0.lock();
        secrets.retain(|_, (_, end)| *end > now);
        let own = secrets.values().filter(|(p, _)| p.subject == principal.subject);
        if own.count() >= MAX_PER_SUBJECT || secrets.len() >= MAX_SECRETS {
            return Err(Reason::QuotaUsed);
        }
        let id = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let end = now + i64::from(life_s);
        let expires_at = principal.expires_at.map_or(end, |own| own.min(end));
        let mut holder = principal.clone();
        holder.method = Method::ClientSecret;
        holder.scopes = Arc::new([Scope::Listen]);
        holder.settings = settings.map(Into::into);
        secrets.insert(Sha256::digest(id.as_bytes()).into(), (holder, expires_at));
        Ok(ClientSecret {
            id: Secret::from(id),
            expires_at,
        })
    }

    /// Returns whom a secret stands for.
    ///
    /// # Errors
    /// There is no such secret, or it has expired.
    pub(super) fn find(&self, id: &str, now: i64) -> Result<Principal, Reason> {
        let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        let secrets = self.0.lock();
        let (principal, end) = secrets.get(&digest).ok_or(Reason::WrongKey)?;
        if *end <= now {
            return Err(Reason::Expired);
        }
        Ok(principal.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_secret_is_good_more_than_once_and_only_for_its_time() {
        let secrets = ClientSecrets::default();
        let who = Principal::anonymous();
        let secret = secrets.issue(&who, Some("{}".to_owned()), 600, 100).unwrap();
        assert_eq!(secret.expires_at, 700);
        for now in [100, 699] {
            let found = secrets.find(secret.id.expose(), now).unwrap();
            assert_eq!(
                (&found.subject, found.method),
                (&who.subject, Method::ClientSecret)
            );
            assert_eq!(found.settings.as_deref(), Some("{}"));
        }
        assert_eq!(secrets.find(secret.id.expose(), 700), Err(Reason::Expired));
        assert_eq!(secrets.find("ek_other", 100), Err(Reason::WrongKey));
    }

    #[test]
    fn a_client_secret_buys_no_other_outlives_no_credential_and_operates_nothing() {
        let secrets = ClientSecrets::default();
        let mut who = Principal::anonymous();
        who.expires_at = Some(110);
        who.scopes = Arc::new([Scope::Listen, Scope::Admin]);
        let secret = secrets.issue(&who, None, 600, 100).unwrap();
        assert_eq!(secret.expires_at, 110);
        let holder = secrets.find(secret.id.expose(), 101).unwrap();
        assert_eq!(holder.may(&[Scope::Admin]), Err(Reason::MissingScope));
        assert_eq!(
            secrets.issue(&holder, None, 600, 101).err(),
            Some(Reason::MissingScope)
        );
    }

    #[test]
    fn nobody_can_fill_the_store() {
        let secrets = ClientSecrets::default();
        let who = Principal::anonymous();
        for _ in 0..MAX_PER_SUBJECT {
            secrets.issue(&who, None, 10, 0).unwrap();
        }
        assert_eq!(secrets.issue(&who, None, 10, 0).err(), Some(Reason::QuotaUsed));
        assert!(secrets.issue(&who, None, 10, 10).is_ok());
    }
}
