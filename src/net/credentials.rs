//! Credentials on HTTP routes: the one call to the guard, and the routes that are about credentials alone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::{Peer, Shared};
use crate::auth::{Principal, Refusal, Scope, Ticket};
use crate::clock::unix_now;

/// The client's address.
pub(super) fn peer(parts: &Parts) -> SocketAddr {
    // The listener puts it on every request.
    parts
        .extensions
        .get::<Peer>()
        .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.0)
}

/// Returns who sends the request, which needs the scope `needs`.
///
/// # Errors
/// The credentials are missing, not valid, or do not allow it.
pub(super) async fn check(shared: &Shared, parts: &Parts, needs: Scope) -> Result<Principal, Refusal> {
    check_any(shared, parts, &[needs]).await
}

/// Returns who sends the request, which needs any scope of a client.
///
/// # Errors
/// As [`check`].
pub(super) async fn check_client(shared: &Shared, parts: &Parts) -> Result<Principal, Refusal> {
    check_any(shared, parts, &Scope::CLIENT).await
}

async fn check_any(shared: &Shared, parts: &Parts, needs: &[Scope]) -> Result<Principal, Refusal> {
    let began = Instant::now();
    let checked = shared
        .guard
        .check_any(parts, peer(parts), needs, unix_now())
        .await;
    shared.context.meters.auth.judged(&checked, began.elapsed());
    checked
}

/// Lets only principals with the scope `admin` through.
pub(super) async fn admin_only(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    match check(&shared, &parts, Scope::Admin).await {
        Ok(_) => next.run(Request::from_parts(parts, body)).await,
        Err(refusal) => refusal.into_response(),
    }
}

/// `GET /api/auth-check`: whether credentials are good. Browsers cannot read why an upgrade failed; they ask here first.
pub(super) async fn check_only(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match check_client(&shared, &parts).await {
        Ok(_) => no_store(Json(serde_json::json!({ "ok": true }))),
        Err(refusal) => refusal.into_response(),
    }
}

/// `POST /api/ws-ticket`: a single-use credential for a URL.
pub(super) async fn ticket(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match issue(&shared, &parts).await {
        Ok(ticket) => no_store(Json(ticket.to_json())),
        Err(refusal) => refusal.into_response(),
    }
}

/// Returns a ticket for who sends the request.
///
/// # Errors
/// The credentials are missing, not valid or a ticket themselves, or too many tickets are unused.
pub(super) async fn issue(shared: &Shared, parts: &Parts) -> Result<Ticket, Refusal> {
    let principal = check_client(shared, parts).await?;
    shared.guard.ticket(&principal, unix_now())
}

pub(super) fn no_store(answer: impl IntoResponse) -> Response {
    (
        [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))],
        answer,
    )
        .into_response()
}

/// Lets pages of the listed origins read answers.
pub(super) async fn cors(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let headers = shared.guard.origins().cors(request.headers().get(header::ORIGIN));
    let preflight = request.method() == Method::OPTIONS
        && request
            .headers()
            .contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = match &headers {
        Some(_) if preflight => StatusCode::NO_CONTENT.into_response(),
        _ => next.run(request).await,
    };
    response.headers_mut().extend(
        headers
            .into_iter()
            .flatten()
            .filter_map(|(name, value)| Some((name?, value))),
    );
    response
}
