//! What operators see.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;

use super::{Shared, gauges};
use crate::session::registry::Listed;
use crate::telemetry;

/// `GET /metrics`: every figure of the catalogue.
pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, telemetry::CONTENT_TYPE)], gauges::render(&shared))
}

/// `GET /sessions`: every session, with the address of its client.
pub(super) async fn sessions(State(shared): State<Arc<Shared>>) -> Json<Vec<Listed>> {
    Json(shared.registry.list())
}
