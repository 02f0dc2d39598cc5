//! The running program with a real Better Auth beside it: every way in, over real sockets, and not a word of any
//! credential in what it logs.

mod auth_support;
#[path = "auth_support/better_auth.rs"]
mod better_auth;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use parking_lot::Mutex;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use auth_support::{SECRET, flat, token, with};
use better_auth::{BetterAuth, Browser};
use moshi_server::auth::Access;
use serde_json::{Value, json};

const KEY: &str = "worker-test-key-9f8e7d6c5b4a";
const PATH: &str = "/api/asr-streaming";

/// The program, until it is dropped.
struct Worker {
    child: Child,
    address: String,
    log: Arc<Mutex<String>>,
    _dir: tempfile::TempDir,
}

impl Worker {
    fn start(tables: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("config.toml");
        let text = format!("{tables}\n[modules.asr]\ntype = \"Scripted\"\npath = \"{PATH}\"\n");
        std::fs::write(&path, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .args(["worker", "--log", "trace", "--config"])
            .arg(&path)
            .env("BETTER_AUTH_SECRET", SECRET)
            .env("MOSHI_API_KEY", KEY)
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        let (ready, address) = std::sync::mpsc::channel();
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for output in outputs {
            let (log, ready) = (Arc::clone(&log), ready.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(at) = line.find("address=") {
                        let _ = ready.send(
                            line[at + 8..]
                                .split_whitespace()
                                .next()
                                .unwrap_or_default()
                                .to_owned(),
                        );
                    }
                    let mut log = log.lock();
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        let address = address.recv_timeout(Duration::from_secs(60));
        let address = address.unwrap_or_else(|_| panic!("the worker did not start:\n{}", log.lock()));
        Self {
            child,
            address,
            log,
            _dir: dir,
        }
    }

    /// Sends a request and reads the head of the answer and what body comes with it.
    fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut head = format!(
            "{method} {target} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n",
            self.address
        );
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if !headers.iter().any(|(name, _)| *name == "upgrade") {
            head.push_str("connection: close\r\n");
        }
        stream.write_all(format!("{head}\r\n").as_bytes()).unwrap();
        let mut answer = Vec::new();
        let mut chunk = [0; 4096];
        loop {
            match stream.read(&mut chunk) {
                Ok(0) | Err(_) => break,
                Ok(n) => answer.extend_from_slice(&chunk[..n]),
            }
            if answer.starts_with(b"HTTP/1.1 101") && answer.windows(4).any(|w| w == b"\r\n\r\n") {
                break;
            }
        }
        let answer = String::from_utf8_lossy(&answer).into_owned();
        (
            answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0),
            answer,
        )
    }

    /// The status of a WebSocket handshake.
    fn handshake(&self, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut all = vec![
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        all.extend_from_slice(headers);
        self.ask("GET", &format!("{PATH}{query}"), &all)
    }

    fn finish(mut self) -> String {
        let _ = self.child.kill();
        let _ = self.child.wait();
        std::mem::take(&mut *self.log.lock())
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

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
    let worker = Worker::start(&tables(page));
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
fn a_real_sign_in_opens_a_live_session() {
    let Some(server) = BetterAuth::start(&json!({"secret": SECRET, "strategy": "jwt"})) else {
        return;
    };
    let worker = Worker::start(&tables(&server.base_url));
    let (mut browser, _) = Browser::signed_up(&server, "live@example.test", &"long profile ".repeat(600));
    let origin = server.base_url.clone();
    let shown = |browser: &Browser<'_>| {
        worker
            .handshake("", &[("cookie", &browser.header()), ("origin", &origin)])
            .0
    };
    assert_eq!(shown(&browser), 101, "in chunks");
    let minted = browser.get("moshi-token")["token"].as_str().unwrap().to_owned();
    assert_eq!(worker.handshake(&format!("?auth_id={minted}"), &[]).0, 101);
    browser.post("sign-out", &json!({}));
    assert_eq!(shown(&browser), 401);
    let log = worker.finish();
    assert!(
        !log.contains(&minted) && !log.contains("live@example.test"),
        "{log}"
    );
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

#[test]
fn every_route_has_a_policy_and_keeps_it() {
    let source = include_str!("../src/net/mod.rs");
    let routes = source.matches(".route(").count();
    let mut paths: Vec<&str> = source
        .split(".route(")
        .skip(1)
        .map(|call| match call.trim_start().strip_prefix('"') {
            Some(literal) => literal.split('"').next().unwrap(),
            None => {
                assert!(
                    call.starts_with("&module.path"),
                    "a route whose path this test cannot read: {call:.40}"
                );
                PATH
            }
        })
        .collect();
    assert_eq!(paths.len(), routes);
    assert!(routes >= 7);
    paths.retain(|path| *path != "/metrics" && *path != PATH);
    let worker = Worker::start(&tables("https://app.example"));
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
    assert_eq!(
        worker.ask("GET", "/metrics", &[]).0,
        404,
        "only on the operator's listener"
    );
}
