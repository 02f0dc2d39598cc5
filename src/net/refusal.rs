//! Answers to refused requests: a status, a line for people, and when to retry.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::session::admission::Refused;
use crate::session::registry::TooMany;

/// Value of `Retry-After`, in seconds.
const RETRY_AFTER_S: u64 = 2;
/// The version of RFC 6455, the only one spoken.
pub(super) const WEBSOCKET_VERSION: &str = "13";

/// A refused request.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) message: String,
    retry: bool,
}

/// What a refused client was told, left on the answer for routes whose clients read it in a shape of their own.
#[derive(Clone, Debug)]
pub(super) struct Said(pub(super) String);

impl Refusal {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            retry: false,
        }
    }

    /// The server is busy: 503 with `Retry-After`.
    pub(super) fn busy(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::SERVICE_UNAVAILABLE,
            message: message.into(),
            retry: true,
        }
    }

    /// The user has as much as one may have, for now.
    pub(super) fn share(message: impl Into<String>) -> Self {
        Self {
            status: StatusCode::TOO_MANY_REQUESTS,
            message: message.into(),
            retry: true,
        }
    }
}

impl From<Refused> for Refusal {
    fn from(refused: Refused) -> Self {
        Self::busy(refused.to_string())
    }
}

impl From<TooMany> for Refusal {
    fn from(too_many: TooMany) -> Self {
        Self::share(too_many.to_string())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let said = Said(self.message.clone());
        let mut response = (self.status, self.message + "\n").into_response();
        response.extensions_mut().insert(said);
        let headers = response.headers_mut();
        if self.retry {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(RETRY_AFTER_S));
        }
        if self.status == StatusCode::UPGRADE_REQUIRED {
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            let version = HeaderValue::from_static(WEBSOCKET_VERSION);
            headers.insert(header::SEC_WEBSOCKET_VERSION, version);
        }
        response
    }
}
