//! The running program, as its users meet it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

pub const KEY: &str = "worker-test-key-9f8e7d6c5b4a";
pub const PATH: &str = "/api/asr-streaming";

/// The program, until it is dropped.
pub struct Worker {
    child: Child,
    pub address: String,
    /// Where the operator's routes are; empty without them.
    pub admin: String,
    log: Arc<Mutex<String>>,
    _dir: tempfile::TempDir,
}

impl Worker {
    /// One with `KEY` and the shared secret `secret`.
    pub fn start(tables: &str, secret: &str) -> Self {
        Self::with_env(tables, &[("BETTER_AUTH_SECRET", secret), ("MOSHI_API_KEY", KEY)])
    }

    /// One that finds `env`, and no other credentials, in its environment.
    pub fn with_env(tables: &str, env: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path: PathBuf = dir.path().join("config.toml");
        let text = format!("{tables}\n[modules.asr]\ntype = \"Scripted\"\npath = \"{PATH}\"\n");
        std::fs::write(&path, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .args(["worker", "--log", "trace", "--config"])
            .arg(&path)
            .env_remove("BETTER_AUTH_SECRET")
            .env_remove("BETTER_AUTH_SECRETS")
            .env_remove("MOSHI_API_KEY")
            .envs(env.iter().copied())
            .env("NO_COLOR", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let log = Arc::new(Mutex::new(String::new()));
        // One reader a pipe; the address is said once.
        let (ready, addresses) = std::sync::mpsc::sync_channel(2);
        let outputs: [Box<dyn Read + Send>; 2] = [
            Box::new(child.stdout.take().unwrap()),
            Box::new(child.stderr.take().unwrap()),
        ];
        for output in outputs {
            let (log, ready) = (Arc::clone(&log), ready.clone());
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    if let Some(address) = field(&line, " address=") {
                        let admin = field(&line, " admin=Some(").unwrap_or_default();
                        let _ = ready.send((address, admin.trim_end_matches(')').to_owned()));
                    }
                    let mut log = log.lock();
                    log.push_str(&line);
                    log.push('\n');
                }
            });
        }
        let addresses = addresses.recv_timeout(Duration::from_secs(60));
        let (address, admin) =
            addresses.unwrap_or_else(|_| panic!("the worker did not start:\n{}", log.lock()));
        Self {
            child,
            address,
            admin,
            log,
            _dir: dir,
        }
    }

    /// Sends a request and reads the head of the answer and what body comes with it.
    pub fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
        ask(&self.address, method, target, headers)
    }

    /// The same of the operator's listener.
    pub fn ask_admin(&self, method: &str, target: &str) -> (u16, String) {
        ask(&self.admin, method, target, &[])
    }

    /// The status of a WebSocket handshake.
    pub fn handshake(&self, query: &str, headers: &[(&str, &str)]) -> (u16, String) {
        let mut all = vec![
            ("connection", "Upgrade"),
            ("upgrade", "websocket"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "AAAAAAAAAAAAAAAAAAAAAA=="),
        ];
        all.extend_from_slice(headers);
        self.ask("GET", &format!("{PATH}{query}"), &all)
    }

    pub fn finish(mut self) -> String {
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

fn ask(address: &str, method: &str, target: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut head = format!(
        "{method} {target} HTTP/1.1\r\nhost: {}\r\ncontent-length: 0\r\n",
        address
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

/// The value after `name` in a line of the log.
fn field(line: &str, name: &str) -> Option<String> {
    let rest = &line[line.find(name)? + name.len()..];
    rest.split_whitespace().next().map(str::to_owned)
}
