//! Authentication from the credential alone: API keys, Better Auth's tokens and cookies, and tickets. No request waits for another
//! server to be asked.
//!
//! A [`Principal`] is made only here. Rules and their reasons: docs/authentication.md.

mod api_keys;
mod bound;
mod claims;
mod client_secrets;
mod config;
mod cookie;
mod file_swap;
mod guard;
mod identity;
pub mod inspect;
mod jwks;
mod jwt;
mod key_entry;
pub mod key_file;
mod key_source;
mod key_watch;
mod methods;
pub mod mint;
mod network;
mod origin;
mod policy;
mod presented;
mod reason;
mod refusal;
mod secrets;
mod setup;
mod throttle;
mod tickets;
mod usage;

pub use client_secrets::{ClientSecret, DEFAULT_LIFE_S, LIFE_S};
pub use config::{AuthConfig, BetterAuthConfig, Limit, OnExpiry, UserLimits};
pub use cookie::{CookieNames, SessionCookies, session_cookies};
pub use guard::Guard;
pub use identity::{Method, Principal, PrincipalLimits, Scope};
pub use jwks::{KeySet, KeySetError};
pub use key_source::{KeySource, KeySourceError};
pub use network::Network;
pub use origin::{OriginError, Origins};
pub use policy::Access;
pub use presented::{Candidate, Carrier, KEY_HEADER, Presented, SUBPROTOCOL, auth_id, selected_subprotocol};
pub use reason::Reason;
pub use refusal::Refusal;
pub use secrets::{SecretError, Secrets, Weakness, parse_list};
pub use setup::AuthConfigError;
pub use tickets::{TICKET_LIFE_S, Ticket};
pub use usage::{Allowance, UsageLease};
