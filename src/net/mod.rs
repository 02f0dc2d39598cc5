//! Sockets and HTTP. The only place that reads or writes a connection of a client; knows no rows and no tensors.

pub mod admin;
mod answers;
mod body;
mod client_address;
mod connection;
mod connections;
mod credentials;
mod form;
mod frames;
mod handshake;
mod info;
pub mod listener;
mod log_limit;
mod reader;
mod refusal;
mod sink;
pub mod slots;
mod socket;
mod stall;
mod upgrade;
mod upload;
mod writer;

use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tower::ServiceExt as _;
use tower_http::services::{ServeDir, ServeFile};

use self::refusal::Refusal;
use self::slots::FileSlots;
use crate::auth::{Guard, Scope};
use crate::clock::unix_now;
use crate::config::{Limits, ServerConfig};
use crate::decoder;
use crate::protocol::dialect::OpenDialect;
use crate::session::admission::Admission;
use crate::session::context::Context;
use crate::session::registry::Registry;
use crate::telemetry::catalogue::EngineMeters;
use crate::telemetry::labels::{Outcome, SharedLink};

/// A module as the network sees it.
pub struct Module {
    /// The name of its table in the configuration.
    pub name: String,
    pub path: String,
    /// What its clients speak.
    pub dialect: OpenDialect,
    /// What a credential must allow to use it.
    pub scope: Scope,
    pub admission: Arc<Admission>,
    /// What `/api/modules_info` says of it besides its slots.
    pub info: ModuleInfo,
    pub meters: EngineMeters,
}

pub use info::ModuleInfo;

/// What every request can reach.
pub struct Shared {
    pub modules: Vec<Arc<Module>>,
    pub guard: Arc<Guard>,
    pub server: ServerConfig,
    pub registry: Arc<Registry>,
    pub context: Context,
    /// Posted files that may be in work.
    pub files: Arc<FileSlots>,
    /// What decodes them.
    pub decoder: decoder::Program,
}

impl Shared {
    /// All metrics, after a look at what nobody reports.
    fn metrics(&self) -> String {
        let meters = &self.context.meters;
        let sum =
            |of: fn(&Admission) -> usize| self.modules.iter().map(|m| of(&m.admission)).sum::<usize>() as f64;
        for module in &self.modules {
            module.meters.rows.set(module.admission.total() as f64);
            module.meters.devices.set(module.admission.devices() as f64);
            module.meters.used.set(module.admission.used() as f64);
        }
        meters.admission.waiting.set(sum(Admission::waiting));
        meters
            .links
            .depth
            .of(SharedLink::Admission)
            .set(sum(Admission::waiting));
        meters
            .links
            .depth
            .of(SharedLink::Ingress)
            .set(sum(Admission::ingress_depth));
        let failing = self.guard.key_file_failing_since(unix_now());
        meters.auth.key_file_failed.set(failing.unwrap_or(0) as f64);
        if let Some(keys) = self.guard.keys() {
            let state = keys.state();
            meters.auth.keyset_keys.set(state.keys as f64);
            meters.auth.keyset_fetched.set(state.fetched_at as f64);
            meters.auth.keyset_fetches.of(Outcome::Ok).absolute(state.fetches);
            meters
                .auth
                .keyset_fetches
                .of(Outcome::Error)
                .absolute(state.failures);
        }
        meters.render()
    }

    fn limits(&self) -> &Arc<Limits> {
        &self.context.limits
    }
}

/// The address of the client: of the connection, or what a trusted proxy says.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::SocketAddr);

/// The web client's page, which has routes of its own.
#[derive(Clone)]
struct Page(ServeFile);

impl Page {
    // A route of the server that does not exist, or a file that is not there, is no page.
    async fn get(self, request: Request) -> Result<Response, Infallible> {
        let path = request.uri().path();
        let file = path.rsplit('/').next().is_some_and(|name| name.contains('.'));
        if file || path.starts_with("/api/") || path == "/metrics" {
            let message = "there is nothing here; /api/modules_info lists what is served";
            return Ok(Refusal::new(StatusCode::NOT_FOUND, message).into_response());
        }
        Ok(self.0.oneshot(request).await?.map(Body::new))
    }
}

/// The routes of the main port.
pub fn router(shared: &Arc<Shared>, static_dir: Option<&Path>) -> Router {
    let mut router = Router::new()
        .route("/livez", get(info::livez))
        .route("/readyz", get(info::readyz))
        .route("/api/build_info", get(info::build_info))
        .route("/api/modules_info", get(info::modules_info))
        .route("/api/auth-check", get(credentials::check_only))
        .route("/api/ws-ticket", post(credentials::ticket));
    for module in &shared.modules {
        let (socket, posted) = (Arc::clone(module), Arc::clone(module));
        let route = get(move |state, request| upgrade::connect(state, socket, request))
            .post(move |state, request| upload::transcribe(state, posted, request));
        router = router.route(&module.path, route);
    }
    if shared.server.public_metrics {
        router = router.route("/metrics", get(admin::metrics));
    }
    if let Some(dir) = static_dir {
        let page = Page(ServeFile::new(dir.join("index.html")));
        router = router
            .fallback_service(ServeDir::new(dir).fallback(tower::service_fn(move |r| page.clone().get(r))));
    }
    let cors = axum::middleware::from_fn_with_state(Arc::clone(shared), credentials::cors);
    router.layer(cors).with_state(Arc::clone(shared))
}
