//! Who a client is, once that is known.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::claims::Identity;
use super::keys::KeyRecord;

/// How a client proved who it is; a metric label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    ApiKey,
    Ticket,
    Jwt,
    Cookie,
    /// Nothing presented, and nothing was required.
    None,
}

impl Method {
    pub const ALL: [Self; 5] = [Self::ApiKey, Self::Ticket, Self::Jwt, Self::Cookie, Self::None];

    pub fn label(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::Ticket => "ticket",
            Self::Jwt => "jwt",
            Self::Cookie => "cookie",
            Self::None => "none",
        }
    }
}

/// What a principal may use at most.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// Sessions at the same time.
    pub max_sessions: Option<u32>,
    /// Minutes of sessions a day (UTC).
    pub minutes_per_day: Option<u32>,
}

/// A client that may use the server. Made only in `auth`.
#[derive(Clone, Debug)]
pub struct Principal {
    /// Stable name for limits and logs: `user:<id>`, `key:<name>` or `anonymous`.
    pub subject: Arc<str>,
    pub method: Method,
    pub quota: Quota,
    /// Unix seconds at which a session of this principal must end.
    pub expires_at: Option<i64>,
    /// Sub-protocol to select in the answer to the handshake.
    pub subprotocol: Option<&'static str>,
    pub session_id: Option<Arc<str>>,
    scopes: Arc<BTreeSet<String>>,
}

impl Principal {
    /// Whoever connects to a server that asks for no credentials.
    pub(super) fn anonymous() -> Self {
        Self::new("anonymous".into(), Method::None, Quota::default(), None, ["transcribe", "admin"])
    }

    pub(super) fn of_key(record: &KeyRecord) -> Self {
        let quota = Quota { max_sessions: record.max_sessions, minutes_per_day: record.minutes_per_day };
        let mut principal =
            Self::new(format!("key:{}", record.name), Method::ApiKey, quota, record.expires_at, ["transcribe"]);
        if !record.scopes.is_empty() {
            principal.scopes = Arc::new(record.scopes.clone());
        }
        principal
    }

    pub(super) fn of_identity(identity: &Identity, method: Method, quota: Quota, expires_at: Option<i64>) -> Self {
        let mut principal =
            Self::new(format!("user:{}", identity.user_id), method, quota, expires_at, ["transcribe"]);
        principal.session_id = identity.session_id.as_deref().map(Arc::from);
        principal
    }

    fn new<const N: usize>(subject: String, method: Method, quota: Quota, expires_at: Option<i64>, scopes: [&str; N]) -> Self {
        Self {
            subject: subject.into(),
            method,
            quota,
            expires_at,
            subprotocol: None,
            session_id: None,
            scopes: Arc::new(scopes.map(str::to_owned).into()),
        }
    }

    /// Whether the principal may do what `scope` names.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.contains(scope)
    }
}
