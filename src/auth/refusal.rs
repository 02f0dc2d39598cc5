//! What a refused client is told: that it was refused, and never by which check.

use axum::Json;
use axum::http::header::{CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};

use super::identity::Method;
use super::key_source::FIRST_INTERVAL_S;
use super::reason::Reason;
use crate::stream::end::EndReason;

/// A refusal. `reason` is for logs and metrics only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    /// The kind of credential that failed.
    pub method: Method,
    /// When to try again, in seconds.
    pub retry_after_s: Option<u32>,
}

impl Refusal {
    pub(super) fn new(reason: Reason, method: Method) -> Self {
        Self {
            reason,
            method,
            retry_after_s: (reason == Reason::KeysUnavailable).then_some(FIRST_INTERVAL_S),
        }
    }

    /// Returns the status of the HTTP answer.
    pub fn status(&self) -> StatusCode {
        match self.reason {
            Reason::UserBanned
            | Reason::EmailNotVerified
            | Reason::OriginNotAllowed
            | Reason::MissingScope => StatusCode::FORBIDDEN,
            Reason::Throttled | Reason::QuotaUsed => StatusCode::TOO_MANY_REQUESTS,
            // The credential may be good: this is an outage, not a mistake of the client.
            Reason::KeysUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::UNAUTHORIZED,
        }
    }

    /// Returns why the session ends, for clients that asked to be told by a close after the upgrade.
    pub fn end_reason(&self) -> EndReason {
        match self.status() {
            StatusCode::FORBIDDEN => EndReason::Forbidden,
            StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => EndReason::Full,
            _ => EndReason::Unauthorized,
        }
    }

    /// Returns the text of the answer, which is the same for all refusals of one status.
    pub fn message(&self) -> &'static str {
        match self.status() {
            StatusCode::FORBIDDEN => "forbidden",
            StatusCode::TOO_MANY_REQUESTS => "too many requests",
            StatusCode::SERVICE_UNAVAILABLE => "credentials cannot be checked now, try again",
            _ => "unauthorized",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (
            self.status(),
            Json(serde_json::json!({ "error": self.message() })),
        )
            .into_response();
        let headers = response.headers_mut();
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self.status() == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
