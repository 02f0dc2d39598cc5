//! Spans of sessions as a collector gets them. Needs the feature `otel`.

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;

use crate::common::{Client, PATH, eventually};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};

type Bodies = Arc<Mutex<Vec<Bytes>>>;

/// A collector that keeps what it is sent.
async fn collector() -> (SocketAddr, Bodies) {
    let bodies = Bodies::default();
    let keep = async |State(bodies): State<Bodies>, body: Bytes| bodies.lock().push(body);
    let app = Router::new()
        .route("/v1/traces", post(keep))
        .with_state(Arc::clone(&bodies));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async { axum::serve(listener, app).await });
    (address, bodies)
}

fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

#[tokio::test]
async fn a_session_is_one_span_without_words_or_keys() {
    const KEY: &str = "a-key-that-nobody-may-see";
    let (collector, bodies) = collector().await;
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let text = format!(
        "[server]\naddr = \"127.0.0.1\"\nadmin_addr = \"\"\n[modules.asr]\ntype = \"Scripted\"\npath = \"{PATH}\"\nbatch_size = 3\n"
    );
    std::fs::write(&config, text).unwrap();
    let mut process = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
        .args([
            "worker",
            "--silent",
            "--port",
            &address.port().to_string(),
            "--config",
        ])
        .arg(&config)
        .env("MOSHI_API_KEY", KEY)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{collector}"))
        .env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")
        .spawn()
        .unwrap();
    eventually(async || TcpStream::connect(address).await.is_ok()).await;

    let mut client = Client::open(address, "", &format!("kyutai-api-key: {KEY}\r\n"))
        .await
        .unwrap();
    client.say("tangerine", 1920).await;
    client.silence(20).await;
    drop(client);
    assert!(
        Command::new("kill")
            .args(["-TERM", &process.id().to_string()])
            .status()
            .unwrap()
            .success()
    );
    tokio::task::spawn_blocking(move || process.wait())
        .await
        .unwrap()
        .unwrap();

    let bodies = bodies.lock();
    let all = bodies
        .iter()
        .map(|b| String::from_utf8_lossy(b))
        .collect::<String>();
    let spans: Vec<Value> = bodies
        .iter()
        .flat_map(|body| {
            let sent: Value = serde_json::from_slice(body).unwrap();
            let scopes = &sent["resourceSpans"][0]["scopeSpans"];
            let spans = |scope: &Value| scope["spans"].as_array().cloned().unwrap_or_default();
            scopes
                .as_array()
                .unwrap()
                .iter()
                .flat_map(spans)
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(spans.len(), 1, "{all}");
    assert_eq!(spans[0]["name"], "session");
    let attribute = |name: &str| {
        let attributes = spans[0]["attributes"].as_array().unwrap();
        let found = attributes.iter().find(|a| a["key"] == name);
        found.map(|a| a["value"]["stringValue"].as_str().unwrap().to_owned())
    };
    assert_eq!(attribute("module").as_deref(), Some("asr"));
    assert_eq!(attribute("method").as_deref(), Some("api_key"));
    assert!(attribute("id").is_some());
    assert!(all.contains("moshi-server"), "the service has no name: {all}");
    assert!(!all.contains(KEY) && !all.contains("tangerine"), "{all}");
}
