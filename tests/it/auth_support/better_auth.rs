//! A real Better Auth server with SQLite, and a browser's way with its cookies.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A server that runs until it is dropped.
pub struct BetterAuth {
    child: Child,
    pub url: String,
    /// What it calls itself.
    pub base_url: String,
    /// Its database lies there.
    _dir: tempfile::TempDir,
}

impl Drop for BetterAuth {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl BetterAuth {
    /// Starts one, installing its packages the first time. `None` on a machine without Node or without a way to install.
    pub fn start(settings: &Value) -> Option<Self> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/better-auth");
        static INSTALL: std::sync::Once = std::sync::Once::new();
        INSTALL.call_once(|| {
            if !dir.join("node_modules/libsql").exists() {
                let _ = Command::new("npm")
                    .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
                    .current_dir(&dir)
                    .status();
            }
        });
        if !dir.join("node_modules/libsql").exists() {
            assert!(
                std::env::var_os("REQUIRE_BETTER_AUTH").is_none(),
                "cannot install Better Auth with npm"
            );
            eprintln!("skipped: needs Node 20 and `npm ci` in tests/better-auth");
            return None;
        }
        let data = tempfile::tempdir().unwrap();
        let mut settings = settings.clone();
        settings["database"] = json!(data.path().join("auth.sqlite"));
        let mut child = Command::new("node")
            .args(["server.mjs", &settings.to_string()])
            .current_dir(&dir)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut url = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut url)
            .unwrap();
        let url = url.trim().to_owned();
        assert!(
            url.starts_with("http://127.0.0.1:"),
            "the server did not start: {url:?}"
        );
        let base_url = settings["baseURL"]
            .as_str()
            .map_or_else(|| url.clone(), str::to_owned);
        Some(Self {
            child,
            url,
            base_url,
            _dir: data,
        })
    }
}

/// An HTTP client that leaves statuses to the test.
fn client() -> ureq::Agent {
    ureq::Agent::config_builder()
        .proxy(None)
        .http_status_as_error(false)
        .build()
        .into()
}

/// A browser signed in or not.
pub struct Browser<'a> {
    server: &'a BetterAuth,
    pub cookies: BTreeMap<String, String>,
}

impl<'a> Browser<'a> {
    pub fn new(server: &'a BetterAuth) -> Self {
        Self {
            server,
            cookies: BTreeMap::new(),
        }
    }

    /// A browser whose user has just signed up.
    pub fn signed_up(server: &'a BetterAuth, email: &str, bio: &str) -> (Self, Value) {
        let mut browser = Self::new(server);
        let form = json!({"name": "Zoë", "email": email, "password": "a long password", "bio": bio});
        let answer = browser.post("sign-up/email", &form);
        (browser, answer)
    }

    pub fn post(&mut self, path: &str, body: &Value) -> Value {
        let request = client()
            .post(self.url(path))
            .header("content-type", "application/json");
        let answer = self.with_headers(request).send(body.to_string());
        self.keep(answer)
    }

    pub fn get(&mut self, path: &str) -> Value {
        let answer = self.with_headers(client().get(self.url(path))).call();
        self.keep(answer)
    }

    /// The `Cookie` header it sends.
    pub fn header(&self) -> String {
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        pairs.join("; ")
    }

    fn url(&self, path: &str) -> String {
        format!("{}/api/auth/{path}", self.server.url)
    }

    fn with_headers<B>(&self, request: ureq::RequestBuilder<B>) -> ureq::RequestBuilder<B> {
        request
            .header("origin", &self.server.base_url)
            .header("cookie", self.header())
    }

    fn keep(&mut self, answer: Result<ureq::http::Response<ureq::Body>, ureq::Error>) -> Value {
        let mut answer = answer.unwrap();
        for cookie in answer.headers().get_all("set-cookie") {
            let cookie = cookie.to_str().unwrap();
            let (pair, attributes) = cookie.split_once(';').unwrap_or((cookie, ""));
            let (name, value) = pair.split_once('=').unwrap();
            if value.is_empty() || attributes.contains("Max-Age=0") {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        let status = answer.status().as_u16();
        let text = answer.body_mut().read_to_string().unwrap();
        let value: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        assert!(status < 400, "{status}: {text}");
        value
    }
}
