//! Single-use tickets: credentials that may stand in a URL, where others would be logged.

use std::collections::HashMap;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::identity::{Method, Principal};
use super::reason::Reason;
use crate::stream::secret::Secret;

/// Starts every ticket.
const PREFIX: &str = "mst_";
/// Life of a ticket in seconds.
pub const TICKET_LIFE_S: i64 = 30;
const MAX_TICKETS: usize = 10_000;
const MAX_PER_SUBJECT: usize = 32;

/// Unused tickets, by their SHA-256.
#[derive(Default)]
pub(super) struct Tickets(Mutex<HashMap<[u8; 32], (Principal, i64)>>);

/// A ticket to hand out.
#[derive(Debug)]
pub struct Ticket {
    pub id: Secret,
    /// Unix seconds.
    pub expires_at: i64,
}

impl Ticket {
    /// Returns the body of the answer to `POST /api/ws-ticket`. Send it with `Cache-Control: no-store`.
    pub fn to_json(&self) -> serde_json::Value {
        serde_json::json!({ "ticket": self.id.expose(), "expires_at": self.expires_at })
    }
}

/// Returns whether `auth_id` has the form of a ticket.
pub(super) fn is_ticket(auth_id: &str) -> bool {
    auth_id.starts_with(PREFIX)
}

impl Tickets {
    /// Makes a ticket for `principal`, good once until `now` + 30 s.
    ///
    /// # Errors
    /// The principal came with a ticket itself, or too many tickets are unused.
    pub(super) fn issue(&self, principal: &Principal, now: i64) -> Result<Ticket, Reason> {
        // Or one ticket could be exchanged for the next without end.
        if principal.method.is_derived() {
            return Err(Reason::MissingScope);
        }
        let mut tickets = self.0.lock();
        if tickets.len() >= MAX_TICKETS {
            tickets.retain(|_, (_, end)| *end > now);
        }
        let mine = tickets
            .values()
            .filter(|(p, end)| p.subject == principal.subject && *end > now)
            .count();
        if tickets.len() >= MAX_TICKETS || mine >= MAX_PER_SUBJECT {
            return Err(Reason::QuotaUsed);
        }
        let id = format!("{PREFIX}{}", URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()));
        let expires_at = principal
            .expires_at
            .map_or(now + TICKET_LIFE_S, |end| end.min(now + TICKET_LIFE_S));
        tickets.insert(
            Sha256::digest(id.as_bytes()).into(),
            (principal.clone(), expires_at),
        );
        Ok(Ticket {
            id: Secret::from(id),
            expires_at,
        })
    }

    /// Uses a ticket up, whether it is still good or not.
    ///
    /// # Errors
    /// There is no such ticket, or it has expired.
    pub(super) fn redeem(&self, id: &str, now: i64) -> Result<Principal, Reason> {
        let digest: [u8; 32] = Sha256::digest(id.as_bytes()).into();
        let (mut principal, end) = self.0.lock().remove(&digest).ok_or(Reason::WrongKey)?;
        if end <= now {
            return Err(Reason::Expired);
        }
        principal.method = Method::Ticket;
        Ok(principal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_for_thirty_seconds() {
        let tickets = Tickets::default();
        let who = Principal::anonymous();
        let ticket = tickets.issue(&who, 100).unwrap();
        assert_eq!(ticket.expires_at, 130);
        assert_eq!(
            tickets.redeem(ticket.id.expose(), 129).unwrap().subject,
            who.subject
        );
        assert_eq!(tickets.redeem(ticket.id.expose(), 129), Err(Reason::WrongKey));
        let late = tickets.issue(&who, 100).unwrap();
        assert_eq!(tickets.redeem(late.id.expose(), 130), Err(Reason::Expired));
    }

    #[test]
    fn a_ticket_buys_no_further_ticket_and_outlives_no_session() {
        let tickets = Tickets::default();
        let mut who = Principal::anonymous();
        who.expires_at = Some(110);
        let ticket = tickets.issue(&who, 100).unwrap();
        assert_eq!(ticket.expires_at, 110);
        let redeemed = tickets.redeem(ticket.id.expose(), 101).unwrap();
        assert_eq!(tickets.issue(&redeemed, 101).err(), Some(Reason::MissingScope));
    }

    #[test]
    fn nobody_can_fill_the_store() {
        let tickets = Tickets::default();
        let who = Principal::anonymous();
        for _ in 0..MAX_PER_SUBJECT {
            tickets.issue(&who, 0).unwrap();
        }
        assert_eq!(tickets.issue(&who, 0).err(), Some(Reason::QuotaUsed));
        assert!(tickets.issue(&who, 31).is_ok());
    }
}
