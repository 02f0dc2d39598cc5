//! A whole server in this process, and a client that can misbehave.

pub mod cases;
pub mod forms;
pub mod frames;
pub mod json;
pub mod speech;

use std::net::SocketAddr;
use std::time::Duration;

use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket};
use moshi_server::app::{App, Outcome};
use moshi_server::auth::Guard;
use moshi_server::config::expand::Expander;
use moshi_server::model::StreamModel;
use moshi_server::model::device::Devices;
use moshi_server::model::scripted::level;
use moshi_server::module::fleet::{LoadedModule, Placed};
use moshi_server::module::hub::{Hub, Source};
use moshi_server::module::{Config, Loader, ModuleConfig};
use moshi_server::protocol::kyutai::server::ServerMsg;
use moshi_server::telemetry::Meters;
use serde::Serialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Path of the module.
pub const PATH: &str = "/api/asr-streaming";
/// Longest wait for anything; only a failing test waits that long.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// Samples per frame.
pub const FRAME: usize = 1920;

/// A client of servers on this machine, whatever proxy the environment names.
pub fn http() -> ureq::Agent {
    ureq::Agent::config_builder().proxy(None).build().into()
}

/// A running server.
pub struct Server {
    pub address: SocketAddr,
    pub meters: Meters,
    stop: Option<oneshot::Sender<()>>,
    outcome: JoinHandle<Outcome>,
}

impl Server {
    /// A server with a scripted model. `keys` go to its table; the rest of the configuration follows, more of the `[server]`
    /// table before a line `---`.
    pub async fn start(keys: &str, rest: &str) -> Self {
        Self::configured("", keys, rest).await
    }

    /// The same, on several devices: each has a scripted model with its own keys.
    pub async fn on_devices(keys: &[&str], rest: &str) -> Self {
        Self::run(scripted("", keys[0], rest), &keys[1..], |_| None).await
    }

    /// The same, for those whom the auth server that shares `secret` signed in.
    pub async fn with_secret(secret: &'static str, rest: &str) -> Self {
        Self::with_secret_and_rows(secret, 2, rest).await
    }

    /// The same, with a model of `rows` rows.
    pub async fn with_secret_and_rows(secret: &'static str, rows: usize, rest: &str) -> Self {
        let config = scripted("", &format!("batch_size = {rows}"), rest);
        Self::run(config, &[], |name| {
            (name == "BETTER_AUTH_SECRET").then(|| secret.to_owned())
        })
        .await
    }

    /// The same, for holders of `key` alone.
    pub async fn with_key(keys: &str, key: &str) -> Self {
        Self::configured(&format!("authorized_ids = [\"{key}\"]"), keys, "").await
    }

    /// The same, for the holders of `ids`, with the rest of the configuration.
    pub async fn with_ids(ids: &[&str], keys: &str, rest: &str) -> Self {
        Self::configured(&format!("authorized_ids = {ids:?}"), keys, rest).await
    }

    /// The same, with more at the top of the configuration.
    pub async fn configured(head: &str, keys: &str, rest: &str) -> Self {
        Self::run(scripted(head, keys, rest), &[], |_| None).await
    }

    async fn run(mut config: Config, others: &[&str], env: impl Fn(&str) -> Option<String>) -> Self {
        let modules = config.modules.iter().map(|(name, module)| {
            let mut loaded = load(name, module);
            // What a real module would show of its files.
            loaded.info.files = Some((
                "/models/somewhere/lm.safetensors".to_owned(),
                "/models/mimi.safetensors".to_owned(),
            ));
            for (i, keys) in others.iter().enumerate() {
                loaded.models.push(Placed {
                    device: format!("test:{}", i + 1),
                    model: other(keys),
                });
            }
            loaded
        });
        // This program is a test, which decodes no files.
        config.server.decoder = Some(env!("CARGO_BIN_EXE_moshi-server").into());
        let meters = Meters::default();
        let app = App::start(&config, guard(&config, env), modules.collect(), meters.clone())
            .await
            .unwrap();
        let address = app.address;
        let (stop, stopped) = oneshot::channel();
        let outcome = tokio::spawn(app.run(async {
            let _ = stopped.await;
        }));
        Self {
            address,
            meters,
            stop: Some(stop),
            outcome,
        }
    }

    /// Tells the server to stop, as SIGTERM does.
    pub fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// How it ended.
    pub async fn outcome(self) -> Outcome {
        tokio::time::timeout(PATIENCE, self.outcome)
            .await
            .unwrap()
            .unwrap()
    }

    /// A session with the given query.
    pub async fn connect(&self, query: &str) -> Client {
        Client::open(self.address, query, "")
            .await
            .unwrap_or_else(|head| panic!("refused: {head}"))
    }

    /// The status and text of a plain request.
    pub async fn request(&self, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        self.request_with("", method, path, body).await
    }

    /// The same, with header lines.
    pub async fn request_with(&self, headers: &str, method: &str, path: &str, body: &[u8]) -> (u16, String) {
        let answer = self.answer_with(headers, method, path, body).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
        (status, answer)
    }

    /// All bytes of the answer to a plain request.
    pub async fn answer(&self, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        self.answer_with("", method, path, body).await
    }

    async fn answer_with(&self, headers: &str, method: &str, path: &str, body: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}content-length: {}\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        // A refusal may come before the body is taken.
        let _ = stream.write_all(body).await;
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        answer
    }

    /// The answer to a head that says how it ends.
    pub async fn raw(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
            .await
            .unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    /// Slots in use.
    pub async fn used(&self) -> usize {
        self.used_with("").await
    }

    async fn used_with(&self, headers: &str) -> usize {
        let (_, answer) = self.request_with(headers, "GET", "/api/modules_info", b"").await;
        let body = answer.split("\r\n\r\n").nth(1).unwrap();
        let list: serde_json::Value = serde_json::from_str(body).unwrap();
        list[0]["used_slots"].as_str().unwrap().parse().unwrap()
    }

    /// Waits until `used` slots are in use.
    pub async fn wait_for_used(&self, used: usize) {
        self.wait_for_used_with("", used).await;
    }

    /// The same, with credentials.
    pub async fn wait_for_used_with(&self, headers: &str, used: usize) {
        eventually(async || self.used_with(headers).await == used).await;
    }
}

/// The model of another device.
fn other(keys: &str) -> Box<dyn StreamModel> {
    let config = scripted("", keys, "");
    let module = config.modules.values().next().unwrap();
    load("other", module).models.remove(0).model
}

/// Loads a scripted module, which needs no files.
fn load(name: &str, module: &ModuleConfig) -> LoadedModule {
    let loader = Loader {
        hub: &Hub::new(Source::from_env(true)),
        devices: &Devices::cpu(),
        threads: 1,
        rows: None,
    };
    module.load(name, &loader).unwrap()
}

fn scripted(head: &str, keys: &str, rest: &str) -> Config {
    of_type("Scripted", head, keys, rest)
}

fn of_type(kind: &str, head: &str, keys: &str, rest: &str) -> Config {
    let (server, rest) = rest.split_once("---").unwrap_or(("", rest));
    let text = format!(
        "{head}\n[server]\nport = 0\nadmin_addr = \"\"\n{server}\n\
         [modules.asr]\ntype = \"{kind}\"\npath = \"{PATH}\"\n{keys}\n{rest}"
    );
    Config::parse("test", &text, &Expander::from_env()).unwrap().0
}

fn guard(config: &Config, env: impl Fn(&str) -> Option<String>) -> Guard {
    Guard::from_config(
        &config.auth,
        &config.authorized_ids,
        &config.server.allowed_origins,
        env,
    )
    .unwrap()
}

/// Waits for a condition.
pub async fn eventually(condition: impl AsyncFn() -> bool) {
    tokio::time::timeout(PATIENCE, async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .expect("it never happened");
}

/// What a client sees.
#[derive(Debug, PartialEq)]
pub enum Seen {
    Message(ServerMsg),
    Closed(u16, String),
    Ping,
    /// The connection ended without a close frame.
    Lost,
}

/// A client over a socket of its own.
pub struct Client {
    pub socket: WebSocket<TcpStream>,
}

#[derive(Serialize)]
#[serde(tag = "type")]
pub enum Out<'a> {
    Init,
    Audio { pcm: &'a [f32] },
    OggOpus { data: &'a [u8] },
    Marker { id: i64 },
    Flush,
    EndOfStream,
    Renew { token: &'a str },
}

impl Client {
    /// Upgrades a connection; the head of the answer when it is refused.
    pub async fn open(address: SocketAddr, query: &str, headers: &str) -> Result<Self, String> {
        Self::open_at(address, &format!("{PATH}?{query}"), headers).await
    }

    /// The same, on another path.
    pub async fn open_at(address: SocketAddr, target: &str, headers: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(address).await.unwrap();
        Self::upgrade(stream, target, headers).await
    }

    /// A client whose system takes little for a client that does not read.
    pub async fn with_small_window(address: SocketAddr, query: &str) -> Self {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let stream = socket.connect(address).await.unwrap();
        Self::upgrade(stream, &format!("{PATH}?{query}"), "")
            .await
            .unwrap()
    }

    async fn upgrade(stream: TcpStream, target: &str, headers: &str) -> Result<Self, String> {
        let (client, _) = Self::upgrade_at(stream, target, headers).await?;
        Ok(client)
    }

    /// The same, with the head of the answer.
    async fn upgrade_at(
        mut stream: TcpStream,
        target: &str,
        headers: &str,
    ) -> Result<(Self, String), String> {
        stream.set_nodelay(true).unwrap();
        let head = format!(
            "GET {target} HTTP/1.1\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.map_err(|e| e.to_string())?);
        }
        let answer = String::from_utf8(answer).unwrap();
        if !answer.starts_with("HTTP/1.1 101") {
            return Err(answer);
        }
        let mut socket = WebSocket::after_handshake(stream, Role::Client);
        socket.set_auto_close(false);
        socket.set_writev(false);
        Ok((Self { socket }, answer))
    }

    pub async fn send(&mut self, message: &Out<'_>) {
        let bytes = rmp_serde::to_vec_named(message).unwrap();
        self.binary(&bytes).await;
    }

    pub async fn binary(&mut self, bytes: &[u8]) {
        // The server may have ended the session already; what it said is looked at later.
        let _ = self
            .socket
            .write_frame(Frame::binary(Payload::Owned(bytes.to_vec())))
            .await;
    }

    pub async fn text(&mut self, text: &str) {
        let _ = self
            .socket
            .write_frame(Frame::text(Payload::Owned(text.into())))
            .await;
    }

    /// Bytes outside any frame.
    pub async fn raw(self, bytes: &[u8]) -> TcpStream {
        let mut stream = self.socket.into_inner();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    /// Speaks `word`, with a silent frame on each side, in messages of `chunk` samples.
    pub async fn say(&mut self, word: &str, chunk: usize) {
        let samples = speech(word);
        for chunk in samples.chunks(chunk) {
            self.send(&Out::Audio { pcm: chunk }).await;
        }
    }

    pub async fn silence(&mut self, frames: usize) {
        for _ in 0..frames {
            self.send(&Out::Audio { pcm: &[0.0; FRAME] }).await;
        }
    }

    /// The next thing the server does.
    pub async fn see(&mut self) -> Seen {
        let frame = tokio::time::timeout(PATIENCE, self.socket.read_frame())
            .await
            .expect("the server says nothing");
        let Ok(frame) = frame else { return Seen::Lost };
        match frame.opcode {
            OpCode::Binary => Seen::Message(rmp_serde::from_slice(&frame.payload).unwrap()),
            OpCode::Text => Seen::Message(serde_json::from_slice(&frame.payload).unwrap()),
            OpCode::Close => {
                let (code, reason) = frame.payload.split_first_chunk::<2>().unwrap();
                Seen::Closed(
                    u16::from_be_bytes(*code),
                    String::from_utf8_lossy(reason).into_owned(),
                )
            }
            OpCode::Ping => Seen::Ping,
            other => panic!("unexpected {other:?}"),
        }
    }

    /// The next message that is no `Step`.
    pub async fn hear(&mut self) -> ServerMsg {
        loop {
            match self.see().await {
                Seen::Message(ServerMsg::Step { .. }) | Seen::Ping => {}
                Seen::Message(message) => return message,
                other => panic!("{other:?} instead of a message"),
            }
        }
    }

    /// Everything but steps up to the end of the connection, and how it ended.
    pub async fn rest(&mut self) -> (Vec<ServerMsg>, Seen) {
        let mut messages = Vec::new();
        loop {
            match self.see().await {
                Seen::Message(ServerMsg::Step { .. }) | Seen::Ping => {}
                Seen::Message(message) => messages.push(message),
                end => return (messages, end),
            }
        }
    }

    /// The close code, whatever comes before it.
    pub async fn close_code(&mut self) -> u16 {
        match self.rest().await.1 {
            Seen::Closed(code, _) => code,
            other => panic!("{other:?} instead of a close frame"),
        }
    }
}

/// Samples that the scripted model hears as `word`: silence, the start of a word, a frame a letter, silence.
pub fn speech(word: &str) -> Vec<f32> {
    let mut samples = vec![0.0; FRAME];
    let letters = word.bytes().map(|b| usize::from(b - b'a'));
    for letter in std::iter::once(8).chain(letters) {
        samples.extend([level(letter); FRAME]);
    }
    samples.extend([0.0; FRAME]);
    samples
}

/// The words among `messages`.
pub fn words(messages: &[ServerMsg]) -> Vec<(String, f64)> {
    let word = |message: &ServerMsg| match message {
        ServerMsg::Word { text, start_time } => Some((text.clone(), (start_time * 1000.0).round() / 1000.0)),
        _ => None,
    };
    messages.iter().filter_map(word).collect()
}
