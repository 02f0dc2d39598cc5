//! The running program: every way in, over real sockets, every route's policy, and not a word of any credential in what
//! it logs.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::auth_support::worker::{KEY, PATH, Worker};
use crate::auth_support::{SECRET, flat, token, with};
use moshi_server::auth::Access;
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

/// The paths that `source` gives routes, so that no route is forgotten; `modules` stands for those of the modules.
fn routes<'a>(source: &'a str, modules: &'a str) -> Vec<&'a str> {
    let code = source.split("#[cfg(test)]").next().unwrap();
    for other in [".nest(", ".merge(", ".route_service(", ".nest_service("] {
        assert!(!code.contains(other), "{other} hides routes from this test");
    }
    let paths = code.split(".route(").skip(1);
    let paths = paths.map(|call| match call.trim_start().strip_prefix('"') {
        Some(literal) => literal.split('"').next().unwrap(),
        None => {
            assert!(
                call.starts_with("&module.path"),
                "a route whose path this test cannot read: {call:.40}"
            );
            modules
        }
    });
    paths.collect()
}

#[test]
fn every_route_has_a_policy_and_keeps_it() {
    let mut paths = routes(include_str!("../../src/net/mod.rs"), PATH);
    assert!(paths.len() >= 7);
    paths.retain(|path| *path != "/metrics" && *path != PATH);
    let worker = Worker::start(&tables("https://app.example"), SECRET);
    for path in paths {
        let policy = Access::of(path, &[PATH]).unwrap_or_else(|| panic!("{path} has no policy"));
        let statuses = ["GET", "POST"].map(|method| worker.ask(method, path, &[]).0);
        let refused = statuses.contains(&401);
        match policy {
            Access::Public => assert!(statuses.contains(&200) && !refused, "{path}: {statuses:?}"),
            Access::Authenticated | Access::Admin => {
                assert!(refused && !statuses.contains(&200), "{path}: {statuses:?}");
            }
        }
    }
    // A module takes sockets and files, and neither without a client.
    assert_eq!(Access::of(PATH, &[PATH]), Some(Access::Authenticated));
    assert_eq!(worker.handshake("", &[]).0, 401);
    assert_eq!(worker.ask("POST", PATH, &[]).0, 401);
}

#[test]
fn every_route_of_the_operator_has_a_policy_and_is_nowhere_else() {
    let paths = routes(include_str!("../../src/net/admin.rs"), PATH);
    assert!(paths.len() >= 4);
    let own = tables("https://app.example").replace("admin_addr = \"\"", "admin_addr = \"127.0.0.1:0\"");
    let worker = Worker::start(&own, SECRET);
    for path in paths {
        let policy = Access::of_operator(path).unwrap_or_else(|| panic!("{path} has no policy"));
        assert_eq!(worker.ask_admin("GET", path).0, 200, "{path}");
        assert_ne!(worker.ask_admin("POST", path).0, 200, "{path} changes nothing");
        match policy {
            Access::Public => assert_eq!(worker.ask("GET", path, &[]).0, 200, "{path}"),
            Access::Admin => assert_eq!(worker.ask("GET", path, &[]).0, 404, "{path}"),
            Access::Authenticated => panic!("{path}: the operator's listener asks for no credentials"),
        }
    }
    for path in ["/api/modules_info", "/api/ws-ticket", PATH] {
        assert_eq!(
            worker.ask_admin("GET", path).0,
            404,
            "{path} is no business of the operator's listener"
        );
    }
}
