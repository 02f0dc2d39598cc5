//! Principals: who a credential belongs to, and what they may do.

use std::sync::Arc;

use super::reason::Reason;

/// How a client proved who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Method {
    Anonymous,
    ApiKey,
    /// A token signed with the secret shared with the auth server.
    JwtSecret,
    /// A token signed with a key of the auth server's key set.
    JwtKeySet,
    Cookie,
    Ticket,
    /// A secret that a backend has made for a page.
    ClientSecret,
}

impl Method {
    /// Returns the name in metrics and in `token inspect`.
    pub fn label(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::ApiKey => "api_key",
            Self::JwtSecret => "jwt_secret",
            Self::JwtKeySet => "jwt_jwks",
            Self::Cookie => "cookie",
            Self::Ticket => "ticket",
            Self::ClientSecret => "client_secret",
        }
    }

    /// Whether the credential was made by this server for the holder of another one.
    pub(super) const fn is_derived(self) -> bool {
        matches!(self, Self::Ticket | Self::ClientSecret)
    }
}

/// What a principal may do; a route states which scope it takes. People signed in through the auth server may listen and speak, as may
/// the keys of the configuration; a key of the key file has the scopes it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Send audio, get words.
    Listen,
    /// Send text, get speech.
    Speak,
    /// Everything, the operator's routes included.
    Admin,
}

impl Scope {
    /// Those of clients: any of them lets one see what there is.
    pub const CLIENT: [Self; 2] = [Self::Listen, Self::Speak];
}

/// How much a principal may use. `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PrincipalLimits {
    pub max_sessions: Option<u32>,
    /// Connection minutes in a UTC day.
    pub minutes_per_day: Option<u32>,
}

/// A client that may use the server. Only this module makes one.
// `#[non_exhaustive]` would still let the rest of this crate make one.
#[allow(clippy::manual_non_exhaustive)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// `user:<id>`, `key:<name>` or `anonymous`: what limits are counted by.
    pub subject: Arc<str>,
    pub method: Method,
    pub scopes: Arc<[Scope]>,
    pub limits: PrincipalLimits,
    /// When the session must end unless its credential is renewed, in Unix seconds.
    pub expires_at: Option<i64>,
    /// When the session must end in any case, in Unix seconds: no renewal goes beyond it.
    pub ends_by: Option<i64>,
    /// The auth server's session, if the credential named one.
    pub session: Option<Arc<str>>,
    /// The WebSocket subprotocol to select: the client offered it beside its token.
    pub subprotocol: Option<&'static str>,
    /// What the sockets begin with that this credential opens, in the words of the protocol that it was made for.
    pub settings: Option<Arc<str>>,
    _private: (),
}

impl Principal {
    pub(super) fn new(subject: Arc<str>, method: Method, scopes: Arc<[Scope]>) -> Self {
        Self {
            subject,
            method,
            scopes,
            limits: PrincipalLimits::default(),
            expires_at: None,
            ends_by: None,
            session: None,
            subprotocol: None,
            settings: None,
            _private: (),
        }
    }

    /// Returns the principal of every client of a server that has no credentials.
    pub(super) fn anonymous() -> Self {
        Self::new("anonymous".into(), Method::Anonymous, Arc::new(Scope::CLIENT))
    }

    /// Checks that the principal has one of `scopes`. An administrator has every scope.
    ///
    /// # Errors
    /// [`Reason::MissingScope`]
    pub(super) fn may(&self, scopes: &[Scope]) -> Result<(), Reason> {
        let has = |scope| self.scopes.contains(scope);
        if scopes.iter().any(has) || has(&Scope::Admin) {
            Ok(())
        } else {
            Err(Reason::MissingScope)
        }
    }
}
