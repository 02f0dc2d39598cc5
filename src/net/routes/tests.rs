use axum::body::Body;
use axum::extract::Request;
use axum::http::StatusCode;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tower::ServiceExt as _;

use super::*;
use crate::auth::{AuthConfig, Guard};
use crate::config::Limits;
use crate::decoder;
use crate::net::slots::FileSlots;
use crate::session::context::Context;
use crate::session::registry::Registry;
use crate::shutdown::Lifecycle;
use crate::telemetry::Meters;

const KEYS: [(&str, &str); 2] = [
    ("listen", "a-key-of-somebody-who-listens"),
    ("admin", "a-key-of-somebody-who-operates"),
];

fn shared(guard: Guard) -> Arc<Shared> {
    let (guard, meters) = (Arc::new(guard), Meters::default());
    Arc::new(Shared {
        modules: Vec::new(),
        guard: Arc::clone(&guard),
        server: ServerConfig::default(),
        registry: Arc::new(Registry::new(meters.clone())),
        context: Context {
            guard,
            limits: Arc::new(Limits::default()),
            lifecycle: watch::channel(Lifecycle::Ready).1,
            meters,
        },
        files: Arc::new(FileSlots::new(1)),
        decoder: decoder::Program::new(None),
    })
}

/// A guard that knows [`KEYS`].
fn guarded() -> Guard {
    let mut text = String::new();
    for (scope, key) in KEYS {
        let digest: String = Sha256::digest(key)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        text += &format!(
            "[[key]]\nname = \"{scope}\"\nsha256 = \"{digest}\"\nscopes = [\"{scope}\"]\ncreated_at = 1\n"
        );
    }
    let dir = tempfile::tempdir().unwrap();
    let key_file = dir.path().join("keys.toml");
    std::fs::write(&key_file, text).unwrap();
    let config = AuthConfig {
        key_file: Some(key_file),
        ..AuthConfig::default()
    };
    Guard::from_config(&config, &[], &[], |_| None).unwrap()
}

async fn status(router: Router, path: &str, headers: &[(&str, &str)]) -> StatusCode {
    let mut request = Request::get(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Body::empty()).unwrap();
    router.oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn off_loopback_the_operators_routes_ask_for_a_key_with_the_scope_admin() {
    let shared = shared(guarded());
    let [listen, admin] = KEYS.map(|(_, key)| [("kyutai-api-key", key)]);
    for route in &OPERATOR {
        let away = |headers| status(operator(&shared, false), route.path, headers);
        let (nobody, listener) = match route.access {
            Access::Admin => (StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN),
            _ => (StatusCode::OK, StatusCode::OK),
        };
        assert_eq!(away(&[]).await, nobody, "{}", route.path);
        assert_eq!(away(&listen).await, listener, "{}", route.path);
        assert_eq!(away(&admin).await, StatusCode::OK, "{}", route.path);
        let at_home = status(operator(&shared, true), route.path, &[]).await;
        assert_eq!(at_home, StatusCode::OK, "{}", route.path);
    }
}

#[tokio::test]
async fn without_keys_nobody_is_an_operator_off_loopback() {
    let open = Guard::from_config(&AuthConfig::default(), &[], &[], |_| None).unwrap();
    let router = operator(&shared(open), false);
    assert_eq!(status(router, "/sessions", &[]).await, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn listeners_without_credentials_answer_to_no_foreign_name() {
    let open = shared(Guard::from_config(&AuthConfig::default(), &[], &[], |_| None).unwrap());
    let guarded = shared(guarded());
    let rebound = [("host", "evil.test:8080")];
    let foreign = StatusCode::MISDIRECTED_REQUEST;
    assert_eq!(
        status(main(&open, None), "/api/modules_info", &rebound).await,
        foreign
    );
    assert_eq!(
        status(operator(&guarded, true), "/sessions", &rebound).await,
        foreign
    );
    let asked = status(main(&guarded, None), "/api/modules_info", &rebound).await;
    assert_eq!(
        asked,
        StatusCode::UNAUTHORIZED,
        "a page elsewhere has no credentials"
    );
    let local = [("host", "localhost:8080")];
    assert_eq!(
        status(main(&open, None), "/api/modules_info", &local).await,
        StatusCode::OK
    );
}

#[test]
fn every_route_stands_once_in_its_list() {
    for list in [&MAIN[..], &OPERATOR[..]] {
        for (i, route) in list.iter().enumerate() {
            assert!(
                list[..i]
                    .iter()
                    .all(|other| (other.path, &other.method) != (route.path, &route.method)),
                "{}",
                route.path
            );
        }
    }
}
