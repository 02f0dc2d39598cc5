//! Every route of the server, once. The routers are made of these lists, the configuration is checked against them (no module
//! may take one of these paths), and a test walks them to see that each keeps its policy.

use std::path::Path;
use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::{from_fn, from_fn_with_state};
use axum::routing::{MethodRouter, get, post};

use super::host::{self, Hosts};
use super::openai::{models, realtime, shaped, transcriptions};
use super::page::Files;
use super::{Module, Shared, admin, credentials, info, prerecorded, services, transcribe, upgrade};
use crate::auth::Access;
use crate::config::ServerConfig;
use crate::protocol::{deepgram, gradium};

/// A route of the server itself.
pub struct Route {
    pub path: &'static str,
    pub method: Method,
    pub access: Access,
    /// Whether this configuration has it.
    pub served: fn(&ServerConfig) -> bool,
    answer: fn() -> MethodRouter<Arc<Shared>>,
}

const fn always(_: &ServerConfig) -> bool {
    true
}

const fn other_apis(server: &ServerConfig) -> bool {
    server.other_apis
}

const LIVEZ: Route = Route {
    path: "/livez",
    method: Method::GET,
    access: Access::Public,
    served: always,
    answer: || get(info::livez),
};

const READYZ: Route = Route {
    path: "/readyz",
    method: Method::GET,
    access: Access::Public,
    served: always,
    answer: || get(info::readyz),
};

/// Routes of the main listener.
pub static MAIN: [Route; 19] = [
    LIVEZ,
    READYZ,
    Route {
        path: "/metrics",
        method: Method::GET,
        access: Access::Public,
        served: |server| server.public_metrics,
        answer: || get(admin::metrics),
    },
    Route {
        path: "/api/build_info",
        method: Method::GET,
        access: Access::Public,
        served: always,
        answer: || get(info::build_info),
    },
    Route {
        path: "/api/modules_info",
        method: Method::GET,
        access: Access::Authenticated,
        served: always,
        answer: || get(info::modules_info),
    },
    Route {
        path: "/api/auth-check",
        method: Method::GET,
        access: Access::Authenticated,
        served: always,
        answer: || get(credentials::check_only),
    },
    Route {
        path: "/api/ws-ticket",
        method: Method::POST,
        access: Access::Authenticated,
        served: always,
        answer: || post(credentials::ticket),
    },
    Route {
        path: deepgram::LISTEN,
        method: Method::GET,
        access: Access::Authenticated,
        served: other_apis,
        answer: || get(|state, request| services::connect(state, &deepgram::SERVICE, request)),
    },
    Route {
        path: deepgram::LISTEN,
        method: Method::POST,
        access: Access::Authenticated,
        served: other_apis,
        answer: || post(prerecorded::listen),
    },
    Route {
        path: deepgram::GRANT,
        method: Method::POST,
        access: Access::Authenticated,
        served: other_apis,
        answer: || post(services::grant),
    },
    Route {
        path: gradium::SPEECH,
        method: Method::GET,
        access: Access::Authenticated,
        served: other_apis,
        answer: || get(|state, request| services::connect(state, &gradium::SERVICE, request)),
    },
    Route {
        path: gradium::TOKEN,
        method: Method::GET,
        access: Access::Authenticated,
        served: other_apis,
        answer: || get(services::token),
    },
    Route {
        path: "/v1/audio/transcriptions",
        method: Method::POST,
        access: Access::Authenticated,
        served: other_apis,
        answer: || openai(post(transcriptions::create)),
    },
    Route {
        path: "/v1/audio/translations",
        method: Method::POST,
        access: Access::Authenticated,
        served: other_apis,
        answer: || openai(post(transcriptions::no_translations)),
    },
    Route {
        path: "/v1/models",
        method: Method::GET,
        access: Access::Authenticated,
        served: other_apis,
        answer: || openai(get(models::list)),
    },
    Route {
        path: "/v1/models/{id}",
        method: Method::GET,
        access: Access::Authenticated,
        served: other_apis,
        answer: || openai(get(models::one)),
    },
    Route {
        path: "/v1/realtime",
        method: Method::GET,
        access: Access::Authenticated,
        served: other_apis,
        answer: || openai(get(realtime::connect)),
    },
    Route {
        path: "/v1/realtime/client_secrets",
        method: Method::POST,
        access: Access::Authenticated,
        served: other_apis,
        answer: || openai(post(realtime::client_secret)),
    },
    Route {
        path: "/v1/realtime/transcription_sessions",
        method: Method::POST,
        access: Access::Authenticated,
        served: other_apis,
        answer: || openai(post(realtime::beta_session)),
    },
];

/// A route of OpenAI's, whose clients read errors in a shape of their own.
fn openai(answer: MethodRouter<Arc<Shared>>) -> MethodRouter<Arc<Shared>> {
    answer.layer(from_fn(shaped))
}

/// Routes of the operator's listener.
pub static OPERATOR: [Route; 4] = [
    LIVEZ,
    READYZ,
    Route {
        path: "/sessions",
        method: Method::GET,
        access: Access::Admin,
        served: always,
        answer: || get(admin::sessions),
    },
    Route {
        path: "/metrics",
        method: Method::GET,
        access: Access::Admin,
        served: always,
        answer: || get(admin::metrics),
    },
];

/// What a module answers on the path that its configuration gives it.
pub struct ModuleRoute {
    pub method: Method,
    pub access: Access,
    answer: fn(Arc<Module>) -> MethodRouter<Arc<Shared>>,
}

/// A socket for live audio, and files.
pub static MODULE: [ModuleRoute; 2] = [
    ModuleRoute {
        method: Method::GET,
        access: Access::Authenticated,
        answer: |module| get(move |state, request| upgrade::connect(state, module, request)),
    },
    ModuleRoute {
        method: Method::POST,
        access: Access::Authenticated,
        answer: |module| post(move |state, request| transcribe::transcribe(state, module, request)),
    },
];

/// Paths that no module may have.
#[must_use]
pub fn own_paths() -> Vec<&'static str> {
    MAIN.iter().chain(&OPERATOR).map(|route| route.path).collect()
}

/// The router of the main listener: the server's own routes, the modules, and the files in `static_dir`.
pub fn main(shared: &Arc<Shared>, static_dir: Option<&Path>) -> Router {
    let mut router = Router::new();
    for route in MAIN.iter().filter(|route| (route.served)(&shared.server)) {
        router = router.route(route.path, (route.answer)());
    }
    for module in &shared.modules {
        for route in &MODULE {
            router = router.route(&module.path, (route.answer)(Arc::clone(module)));
        }
    }
    if let Some(dir) = static_dir {
        let files = Files::new(dir);
        router = router.fallback(move |request| files.get(request));
    }
    if shared.guard.is_open() {
        let hosts = Arc::new(Hosts::new(&shared.server.allowed_origins));
        router = router.layer(from_fn_with_state(hosts, host::check));
    }
    let cors = from_fn_with_state(Arc::clone(shared), credentials::cors);
    router.layer(cors).with_state(Arc::clone(shared))
}

/// The router of the operator's listener. On loopback whoever reaches it may use it; elsewhere its routes ask for an API key
/// with the scope `admin`.
pub fn operator(shared: &Arc<Shared>, loopback: bool) -> Router {
    let mut router = Router::new();
    for route in OPERATOR.iter().filter(|route| (route.served)(&shared.server)) {
        let mut answer = (route.answer)();
        if route.access == Access::Admin && !loopback {
            let check = from_fn_with_state(Arc::clone(shared), credentials::admin_only);
            answer = answer.route_layer(check);
        }
        router = router.route(route.path, answer);
    }
    if loopback {
        let hosts = Arc::new(Hosts::new(&shared.server.allowed_origins));
        router = router.layer(from_fn_with_state(hosts, host::check));
    }
    router.with_state(Arc::clone(shared))
}

#[cfg(test)]
mod tests;
