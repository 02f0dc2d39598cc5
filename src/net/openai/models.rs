//! `GET /v1/models`: the modules that a client may name, and the name that clients have by default.

use std::sync::{Arc, LazyLock};

use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::errors::Failed;
use crate::auth::Scope;
use crate::clock::unix_now;
use crate::net::credentials::check;
use crate::net::refusal::Refusal;
use crate::net::{Module, Shared};
use crate::protocol::openai::error::ApiError;

/// The name by which many clients ask for any model that transcribes.
const ALIAS: &str = "whisper-1";

/// When the models came to be, for clients: the server began to answer. Unix seconds.
static CREATED: LazyLock<i64> = LazyLock::new(unix_now);

#[derive(Serialize)]
struct Model {
    id: String,
    object: &'static str,
    created: i64,
    owned_by: &'static str,
}

impl Model {
    fn named(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            object: "model",
            created: *CREATED,
            owned_by: "moshi-server",
        }
    }
}

#[derive(Serialize)]
struct List {
    object: &'static str,
    data: Vec<Model>,
}

/// Modules that transcribe, in the order of the configuration.
fn listening(shared: &Shared) -> impl Iterator<Item = &Arc<Module>> {
    shared
        .modules
        .iter()
        .filter(|module| module.scope == Scope::Listen)
}

/// Returns the module that a client means by `model`. Clients send what other servers have, so a name that is no module's means the
/// first that transcribes.
///
/// # Errors
/// The server has no module that transcribes.
pub(super) fn find<'s>(shared: &'s Shared, model: Option<&str>) -> Result<&'s Arc<Module>, Refusal> {
    shared.listening(model).ok_or_else(|| {
        let message = "this server has no module that transcribes";
        Refusal::new(StatusCode::NOT_FOUND, message)
    })
}

fn names(shared: &Shared) -> Vec<&str> {
    let mut names: Vec<&str> = listening(shared).map(|module| &*module.name).collect();
    if !names.is_empty() && !names.contains(&ALIAS) {
        names.push(ALIAS);
    }
    names
}

/// `GET /v1/models`
pub(in crate::net) async fn list(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refusal) = check(&shared, &parts, Scope::Listen).await {
        return refusal.into_response();
    }
    let data = names(&shared).into_iter().map(Model::named).collect();
    let object = "list";
    Json(List { object, data }).into_response()
}

/// `GET /v1/models/{id}`
pub(in crate::net) async fn one(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refusal) = check(&shared, &parts, Scope::Listen).await {
        return refusal.into_response();
    }
    match names(&shared).into_iter().find(|name| *name == id) {
        Some(name) => Json(Model::named(name)).into_response(),
        None => {
            let error = ApiError {
                code: Some("model_not_found"),
                ..ApiError::invalid(
                    Some("model"),
                    "there is no model of this name: GET /v1/models lists them",
                )
            };
            Failed(StatusCode::NOT_FOUND, error).into_response()
        }
    }
}
