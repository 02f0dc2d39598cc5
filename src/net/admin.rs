//! The operator's own port.

use std::sync::Arc;

use axum::extract::State;
use axum::http::HeaderName;
use axum::http::header::CONTENT_TYPE;
use axum::routing::get;
use axum::{Json, Router};

use super::{Shared, info};
use crate::session::registry::Listed;
use crate::telemetry;

/// The routes of the operator's port.
pub fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/livez", get(info::livez))
        .route("/readyz", get(info::readyz))
        .route("/sessions", get(sessions))
        .route("/metrics", get(metrics))
        .with_state(Arc::clone(shared))
}

pub(super) async fn metrics(State(shared): State<Arc<Shared>>) -> ([(HeaderName, &'static str); 1], String) {
    ([(CONTENT_TYPE, telemetry::CONTENT_TYPE)], shared.metrics())
}

async fn sessions(State(shared): State<Arc<Shared>>) -> Json<Vec<Listed>> {
    Json(shared.registry.list())
}
