//! Routes that tell about the server.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;

use super::credentials::check_client;
use super::{Module, Shared};
use crate::auth::Refusal;
use crate::shutdown::Lifecycle;

/// What a module says of itself.
#[derive(Clone, Debug)]
pub struct ModuleInfo {
    /// The `type` that Kyutai's server shows for it.
    pub kind: &'static str,
    /// Paths of the language model and of the codec; none for a module without.
    pub files: Option<(String, String)>,
}

#[derive(Serialize)]
pub(super) struct BuildInfo {
    build_timestamp: &'static str,
    build_date: &'static str,
    git_branch: &'static str,
    git_timestamp: &'static str,
    git_date: &'static str,
    git_hash: &'static str,
    git_describe: &'static str,
    rustc_host_triple: &'static str,
    rustc_version: &'static str,
    cargo_target_triple: &'static str,
}

/// The process does its work.
pub(super) async fn livez(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    match *shared.context.lifecycle.borrow() {
        Lifecycle::Failed | Lifecycle::Stopped => (StatusCode::SERVICE_UNAVAILABLE, "failed\n"),
        _ => (StatusCode::OK, "ok\n"),
    }
}

/// New sessions are welcome.
pub(super) async fn readyz(State(shared): State<Arc<Shared>>) -> (StatusCode, &'static str) {
    match *shared.context.lifecycle.borrow() {
        Lifecycle::Ready => (StatusCode::OK, "ready\n"),
        Lifecycle::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Lifecycle::Failed => (StatusCode::SERVICE_UNAVAILABLE, "failed\n"),
        Lifecycle::NotReady | Lifecycle::Draining { .. } | Lifecycle::Stopped => {
            (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
        }
    }
}

/// The same strings as Kyutai's server; those that a build without a repository cannot know are empty.
pub(super) async fn build_info() -> Json<BuildInfo> {
    Json(BuildInfo {
        build_timestamp: env!("MOSHI_BUILD_TIMESTAMP"),
        build_date: env!("MOSHI_BUILD_DATE"),
        git_branch: env!("MOSHI_GIT_BRANCH"),
        git_timestamp: env!("MOSHI_GIT_TIMESTAMP"),
        git_date: env!("MOSHI_GIT_DATE"),
        git_hash: env!("MOSHI_GIT_HASH"),
        git_describe: env!("MOSHI_GIT_DESCRIBE"),
        rustc_host_triple: env!("MOSHI_RUSTC_HOST"),
        rustc_version: env!("MOSHI_RUSTC_VERSION"),
        cargo_target_triple: env!("MOSHI_TARGET"),
    })
}

/// One map per module, numbers as strings, as Kyutai's server writes them. For clients only.
pub(super) async fn modules_info(
    State(shared): State<Arc<Shared>>,
    request: Request,
) -> Result<Json<Vec<BTreeMap<&'static str, String>>>, Refusal> {
    let (parts, _) = request.into_parts();
    check_client(&shared, &parts).await?;
    Ok(Json(
        shared.modules.iter().map(|module| describe(module)).collect(),
    ))
}

/// The last part of a path: where the files lie is nobody's business.
fn file_name(path: &str) -> String {
    let name = Path::new(path).file_name();
    name.unwrap_or_default().to_string_lossy().into_owned()
}

fn describe(module: &Module) -> BTreeMap<&'static str, String> {
    let mut map = BTreeMap::from([
        ("type", module.info.kind.to_owned()),
        ("path", module.path.clone()),
        ("used_slots", module.admission.used().to_string()),
        ("total_slots", module.admission.total().to_string()),
    ]);
    if let Some((lm, codec)) = &module.info.files {
        map.insert("lm", file_name(lm));
        map.insert("audio_tokenizer", file_name(codec));
    }
    map
}
