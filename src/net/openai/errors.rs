//! Refusals in the shape that OpenAI's clients read, whoever refused.

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::net::refusal::Said;
use crate::protocol::openai::error::{self, ApiError};

/// An error as an answer.
pub(super) struct Failed(pub(super) StatusCode, pub(super) ApiError);

impl Failed {
    /// An error that the client can mend.
    pub(super) fn invalid(error: ApiError) -> Self {
        Self(StatusCode::BAD_REQUEST, error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(status, error) = self;
        let mut response = (status, [(header::CONTENT_TYPE, JSON)], error.to_json()).into_response();
        response.extensions_mut().insert(Shaped);
        response
    }
}

const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// The answer has its shape already.
#[derive(Clone, Copy)]
struct Shaped;

/// Gives what a route refuses OpenAI's shape. Headers stay, such as when to try again.
pub(in crate::net) async fn shaped(request: Request, next: Next) -> Response {
    let response = next.run(request).await;
    let status = response.status();
    if !(status.is_client_error() || status.is_server_error())
        || response.extensions().get::<Shaped>().is_some()
    {
        return response;
    }
    let said = response.extensions().get::<Said>().map(|said| said.0.clone());
    let message = said.unwrap_or_else(|| unsaid(status).to_owned());
    let (mut parts, _) = response.into_parts();
    parts.status = StatusCode::from_u16(error::status(status.as_u16())).unwrap_or(status);
    parts.headers.insert(header::CONTENT_TYPE, JSON);
    parts.headers.remove(header::CONTENT_LENGTH);
    let error = ApiError::of_status(parts.status.as_u16(), message);
    Response::from_parts(parts, Body::from(error.to_json()))
}

/// What is told where whoever refused says nothing.
fn unsaid(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => {
            "no valid credentials: send a key of this server as the API key (Authorization: Bearer)"
        }
        StatusCode::FORBIDDEN => "these credentials do not allow it",
        StatusCode::TOO_MANY_REQUESTS => "too many requests: try again later",
        StatusCode::SERVICE_UNAVAILABLE => "credentials cannot be checked now: try again",
        status => status.canonical_reason().unwrap_or("refused"),
    }
}
