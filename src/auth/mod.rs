//! Who a client is.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::http::StatusCode;
use axum::http::request::Parts;

/// A client that may use the server.
#[derive(Clone, Debug)]
pub struct Principal {
    pub subject: Arc<str>,
    pub limits: PrincipalLimits,
    pub expires_at: Option<i64>,
    pub subprotocol: Option<&'static str>,
    _private: (),
}

#[derive(Clone, Debug, Default)]
pub struct PrincipalLimits {
    pub max_sessions: Option<u32>,
}

pub struct Refusal;

impl Refusal {
    pub fn status(&self) -> StatusCode {
        StatusCode::UNAUTHORIZED
    }
}

#[derive(Default)]
pub struct Guard;

impl Guard {
    pub async fn check(&self, _parts: &Parts, _peer: SocketAddr, _now: i64) -> Result<Principal, Refusal> {
        Ok(Principal {
            subject: "anonymous".into(),
            limits: PrincipalLimits::default(),
            expires_at: None,
            subprotocol: None,
            _private: (),
        })
    }
}
