//! The running program: every way in, over real sockets, every route's policy, and not a word of any credential in what
//! it logs.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::auth_support::worker::{KEY, PATH, Worker};
use crate::auth_support::{SECRET, flat, token, with};
use axum::http::Method;
use moshi_server::auth::Access;
use moshi_server::net::routes::{MAIN, MODULE, OPERATOR, Route};
use serde_json::{Value, json};

fn tables(origin: &str) -> String {
    format!(
        "[server]\nport = 0\nadmin_addr = \"\"\nallowed_origins = [\"{origin}\"]\n[limits]\nmax_sessions_per_user = 100\n\
         [auth]\nfailures_per_minute = 0\n[auth.better_auth]\naudience = \"moshi-server\"\n"
    )
}

fn good() -> Value {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let claims = with(flat(), "exp", json!(now + 60));
    with(with(claims, "iat", json!(now)), "expiresAt", json!(now + 1000))
}

#[test]
fn every_way_in_works_over_sockets_and_nothing_is_logged() {
    let page = "https://app.example";
    let worker = Worker::start(&tables(page), SECRET);
    let jwt = token(&good());
    let expired = token(&with(good(), "exp", json!(1000)));
    let offer = format!("moshi, bearer.{jwt}");
    let bearer = format!("Bearer {jwt}");
    let cookie = format!("better-auth.session_data={jwt}");

    assert_eq!(worker.handshake("", &[("kyutai-api-key", KEY)]).0, 101);
    assert_eq!(worker.handshake(&format!("?auth_id={KEY}"), &[]).0, 101);
    assert_eq!(worker.handshake(&format!("?auth_id={jwt}"), &[]).0, 101);
    assert_eq!(worker.handshake("", &[("authorization", &bearer)]).0, 101);
    let (status, head) = worker.handshake("", &[("sec-websocket-protocol", &offer)]);
    assert_eq!(status, 101);
    assert!(
        head.to_lowercase().contains("sec-websocket-protocol: moshi\r\n"),
        "{head}"
    );
    assert_eq!(
        worker.handshake("", &[("cookie", &cookie), ("origin", page)]).0,
        101
    );

    let (status, head) = worker.handshake("", &[]);
    assert_eq!(status, 401);
    assert!(head.to_lowercase().contains("www-authenticate: bearer"), "{head}");
    assert_eq!(worker.handshake(&format!("?auth_id={expired}"), &[]).0, 401);
    assert_eq!(
        worker
            .handshake("", &[("cookie", &cookie), ("origin", "https://evil.test")])
            .0,
        403
    );
    assert_eq!(
        worker
            .handshake(
                "?auth_id=wrong-key-of-somebody",
                &[("cookie", &cookie), ("origin", page)]
            )
            .0,
        401
    );

    assert_eq!(worker.ask("GET", "/api/auth-check", &[]).0, 401);
    assert_eq!(
        worker
            .ask("GET", "/api/auth-check", &[("authorization", &bearer)])
            .0,
        200
    );
    let (status, answer) = worker.ask("POST", "/api/ws-ticket", &[("authorization", &bearer)]);
    assert_eq!(status, 200);
    assert!(answer.to_lowercase().contains("cache-control: no-store"));
    let body: Value = serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let ticket = body["ticket"].as_str().unwrap().to_owned();
    assert_eq!(worker.handshake(&format!("?auth_id={ticket}"), &[]).0, 101);
    assert_eq!(
        worker.handshake(&format!("?auth_id={ticket}"), &[]).0,
        401,
        "once"
    );

    let log = worker.finish();
    assert!(
        log.contains("TRACE") || log.contains("DEBUG"),
        "the log is at trace level"
    );
    let signature = |token: &str| token.rsplit('.').next().unwrap().to_owned();
    let (good, bad) = (signature(&jwt), signature(&expired));
    for secret in [KEY, SECRET, &jwt, &good, &bad, &ticket, "wrong-key-of-somebody"] {
        assert!(!log.contains(secret), "a credential is in the log:\n{log}");
    }
}

#[test]
fn a_server_open_to_the_network_needs_credentials() {
    let run = |args: &[&str], secret: &str| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, format!("[server]\nport = 0\nadmin_addr = \"\"\n[modules.asr]\ntype = \"Scripted\"\npath = \"{PATH}\"\n")).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .args(["worker", "--config"])
            .arg(&path)
            .args(args)
            .env_remove("MOSHI_API_KEY")
            .env("BETTER_AUTH_SECRET", secret)
            .output()
            .unwrap();
        assert!(!output.status.success());
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(run(&["--addr", "0.0.0.0"], "").contains("credential"));
    let weak = run(&[], "only-16-chars-xx");
    assert!(
        weak.contains("16 bytes") && !weak.contains("only-16-chars-xx"),
        "{weak}"
    );
}

const SOCKETS: [&str; 3] = ["/v1/realtime", "/v1/listen", "/api/speech/asr"];

#[test]
fn every_route_keeps_its_policy() {
    let worker = Worker::start(&tables("https://app.example"), SECRET);
    for route in MAIN.iter().filter(|route| route.path != "/metrics") {
        let wanted = match route.access {
            // A socket's is asked for by the handshake (`openai_realtime.rs`, `deepgram.rs`, `gradium.rs`).
            _ if SOCKETS.contains(&route.path) && route.method == Method::GET => 426,
            Access::Public => 200,
            Access::Authenticated | Access::Admin => 401,
        };
        let status = |method: &Method| worker.ask(method.as_str(), route.path, &[]).0;
        assert_eq!(status(&route.method), wanted, "{} {}", route.method, route.path);
        let methods: Vec<_> = MAIN
            .iter()
            .filter(|other| other.path == route.path)
            .map(|other| &other.method)
            .collect();
        for other in [Method::GET, Method::POST, Method::PUT, Method::DELETE] {
            if !methods.contains(&&other) {
                assert_eq!(status(&other), 405, "{other} {}", route.path);
            }
        }
    }
    for route in &MODULE {
        assert_eq!(route.access, Access::Authenticated);
        let refused = match route.method {
            Method::GET => worker.handshake("", &[]).0,
            _ => worker.ask(route.method.as_str(), PATH, &[]).0,
        };
        assert_eq!(refused, 401, "{} {PATH}", route.method);
    }
    // Only where the configuration asks for it.
    assert_eq!(worker.ask("GET", "/metrics", &[]).0, 404);
    let public = tables("https://app.example").replacen("[server]", "[server]\npublic_metrics = true", 1);
    let worker = Worker::start(&public, SECRET);
    assert_eq!(worker.ask("GET", "/metrics", &[]).0, 200);
}

#[test]
fn every_route_of_the_operator_is_there_and_nowhere_else() {
    let own = tables("https://app.example").replace("admin_addr = \"\"", "admin_addr = \"127.0.0.1:0\"");
    let worker = Worker::start(&own, SECRET);
    for route in &OPERATOR {
        let path = route.path;
        assert_eq!(worker.ask_admin(route.method.as_str(), path).0, 200, "{path}");
        assert_eq!(worker.ask_admin("POST", path).0, 405, "{path} changes nothing");
        if route.access == Access::Admin {
            assert_eq!(worker.ask("GET", path, &[]).0, 404, "{path}");
        }
    }
    for path in ["/api/modules_info", "/api/ws-ticket", PATH] {
        let status = worker.ask_admin("GET", path).0;
        assert_eq!(status, 404, "{path} is no business of the operator's listener");
    }
}

#[test]
fn no_module_may_take_a_path_of_the_server() {
    // What holds a parameter is no path that a module could have.
    let literal = |route: &&Route| !route.path.contains('{');
    for route in MAIN.iter().chain(&OPERATOR).filter(literal) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        let text = format!("[modules.asr]\ntype = \"Scripted\"\npath = \"{}\"\n", route.path);
        std::fs::write(&path, text).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .arg("validate")
            .arg(&path)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("config.toml:3: modules.asr.path"), "{said}");
        assert!(said.contains("is a route of the server itself"), "{said}");
    }
}
