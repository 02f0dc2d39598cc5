//! The operator's own port.

use std::sync::Arc;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};

use super::{Shared, info};
use crate::session::registry::Listed;

/// The routes of the operator's port.
pub fn router(shared: &Arc<Shared>) -> Router {
    Router::new()
        .route("/livez", get(info::livez))
        .route("/readyz", get(info::readyz))
        .route("/sessions", get(sessions))
        .with_state(Arc::clone(shared))
}

async fn sessions(State(shared): State<Arc<Shared>>) -> Json<Vec<Listed>> {
    Json(shared.registry.list())
}
