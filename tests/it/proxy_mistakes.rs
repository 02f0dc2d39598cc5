//! A proxy that does not pass WebSockets on is named as the fault, to the client, in the log, and by `transcribe`.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::process::Command;

use crate::auth_support::SECRET;
use crate::auth_support::worker::{PATH, Worker};
use crate::common::Server;
use crate::common::frames::handshake;

const KEY: &str = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

#[tokio::test]
async fn an_upgrade_over_http_1_0_is_refused_with_the_proxys_setting() {
    let server = Server::start("batch_size = 1", "").await;
    let (_, head) = handshake(server.address, "1.0", "", KEY).await;
    assert!(head.starts_with("HTTP/1.0 426"), "{head}");
    assert_eq!(server.used().await, 0, "no row for what cannot be served");
    // The proxy has taken the headers of the hop out.
    let (status, answer) = server.request_with(KEY, "GET", PATH, b"").await;
    assert!(
        status == 426 && answer.contains("proxy_http_version 1.1"),
        "{answer}"
    );
    // No WebSocket was asked for: nothing is said of proxies.
    let (status, answer) = server.request("GET", PATH, b"").await;
    assert!(status == 426 && !answer.contains("proxy"), "{answer}");
}

/// A proxy as nginx is without further settings: HTTP/1.0 to the server, and no headers of the hop, or those alone that
/// `lines` has.
fn proxy(server: String, lines: &'static str) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        for line in BufReader::new(client.try_clone().unwrap()).lines() {
            let line = line.unwrap().to_lowercase();
            if line.is_empty() {
                break;
            }
            if !line.starts_with("connection:") && !line.starts_with("upgrade:") {
                head.push(line.replace("get ", "GET ").replace(" http/1.1", " HTTP/1.0"));
            }
        }
        let mut to_server = std::net::TcpStream::connect(server).unwrap();
        let head = format!("{}\r\n{lines}\r\n", head.join("\r\n"));
        to_server.write_all(head.as_bytes()).unwrap();
        let mut answer = Vec::new();
        let _ = to_server.read_to_end(&mut answer);
        let _ = client.write_all(&answer);
    });
    address
}

#[test]
fn transcribe_and_the_log_point_to_the_proxy() {
    let worker = Worker::start("[server]\nport = 0\nadmin_addr = \"\"\n", SECRET);
    for lines in [
        "connection: close\r\n",
        "connection: upgrade\r\nupgrade: websocket\r\n",
    ] {
        let url = format!("ws://{}", proxy(worker.address.clone(), lines));
        let audio = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stt-demo/samples/demo.wav");
        let output = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .args(["transcribe", "--url", &url, audio])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success());
        assert!(said.contains("proxy_http_version 1.1"), "{said}");
    }
    assert!(worker.finish().contains("does not pass WebSockets on"));
}
