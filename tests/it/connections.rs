//! The port stays open: nobody's silence, greed or refusal to read keeps others from being heard.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

use crate::common::{Client, PATIENCE, Seen, Server, eventually};

/// A connection from 127.0.0.`host`: each is an address of its own to the server.
async fn from(host: u8, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    let address = Ipv4Addr::new(127, 0, 0, host);
    socket.bind(SocketAddr::from((address, 0))).unwrap();
    socket.connect(to).await.unwrap()
}

/// The answer to a request over `stream`; what came of it when the server cut the connection.
async fn ask(mut stream: TcpStream) -> String {
    let head = b"GET /livez HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, async {
        stream.write_all(head).await?;
        stream.read_to_end(&mut answer).await
    })
    .await
    .expect("the server says nothing");
    String::from_utf8_lossy(&answer).into_owned()
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or(answer)
}

/// Waits until the server has closed `stream`.
async fn closed(stream: &mut TcpStream) {
    let mut scrap = [0; 1024];
    timeout(PATIENCE, async {
        while stream.read(&mut scrap).await.is_ok_and(|n| n > 0) {}
    })
    .await
    .expect("the connection stays open");
}

#[tokio::test]
async fn silent_connections_give_way_to_those_who_ask() {
    let limits = "[limits]\nmax_handshakes = 8\nhandshake_timeout_s = 3600";
    let server = Server::start("batch_size = 1", limits).await;
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(from(2, server.address).await);
    }
    // Another address is heard, and so is the same one.
    assert_eq!(status(&ask(from(3, server.address).await).await), "200");
    silent.push(from(2, server.address).await);
    assert_eq!(status(&ask(from(2, server.address).await).await), "200");
    for stream in &mut silent[..6] {
        closed(stream).await;
    }
    let page = server.meters.render();
    let count = "moshi_connection_unserved_total{reason=\"handshakes\"} 6";
    assert!(page.contains(count), "{page}");
    // The younger ones can still ask.
    assert_eq!(status(&ask(silent.pop().unwrap()).await), "200");
}

#[tokio::test]
async fn an_address_has_so_many_connections_and_a_trusted_proxy_more() {
    let limits = "trusted_proxies = [\"127.0.0.9\"]\n---[limits]\nmax_connections_per_address = 2";
    let server = Server::start("batch_size = 1", limits).await;
    let mut kept = vec![from(2, server.address).await, from(2, server.address).await];
    let refused = ask(from(2, server.address).await).await;
    assert!(
        refused.starts_with("HTTP/1.1 429") && refused.contains("from your address"),
        "{refused}"
    );
    assert_eq!(status(&ask(from(3, server.address).await).await), "200");
    for _ in 0..3 {
        kept.push(from(9, server.address).await);
    }
    assert_eq!(status(&ask(kept.pop().unwrap()).await), "200");
    assert_eq!(status(&ask(kept.remove(0)).await), "200");
    eventually(async || status(&ask(from(2, server.address).await).await) == "200").await;
}

#[tokio::test]
async fn whoever_asks_for_much_and_reads_nothing_loses_the_connection() {
    let limits = "[limits]\nmax_connections = 1\nwrite_timeout_s = 0.2";
    let server = Server::start("batch_size = 1", limits).await;
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let mut greedy = socket.connect(server.address).await.unwrap();
    let request = b"GET /api/build_info HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(20_000);
    // The server stops to take them once it cannot answer, and then cuts the connection.
    timeout(PATIENCE, async {
        while greedy.write_all(&request).await.is_ok() {}
    })
    .await
    .expect("the connection stays open");
    eventually(async || status(&ask(TcpStream::connect(server.address).await.unwrap()).await) == "200").await;
}

#[tokio::test]
async fn a_socket_counts_as_a_connection_to_its_end() {
    let server = Server::start("batch_size = 4", "[limits]\nmax_connections = 2").await;
    let sessions = [server.connect("").await, server.connect("").await];
    assert_eq!(status(&ask(from(3, server.address).await).await), "503");
    drop(sessions);
    eventually(async || status(&ask(from(3, server.address).await).await) == "200").await;
}

#[tokio::test]
async fn a_refused_socket_ends_with_its_close_frame() {
    let server = Server::with_key("batch_size = 1", "a-key-that-nobody-guesses").await;
    let mut refused = Client::open(server.address, "auth_close=1", "").await.unwrap();
    assert!(matches!(refused.see().await, Seen::Closed(4401, _)));
    // Whoever was turned away could go on sending, and keep its socket by that, if the server waited for an answer to the close frame.
    // What the system itself takes before it notices is a few megabytes.
    let mut stream = refused.socket.into_inner();
    let piece = vec![0; 64 << 10];
    let mut taken = 0;
    while let Ok(wrote) = timeout(PATIENCE, stream.write(&piece)).await.expect("it is kept") {
        taken += wrote;
        assert!(taken < 16 << 20, "the server goes on reading");
    }
}

#[test]
fn the_limit_of_open_files_is_raised_to_what_the_system_allows() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    let tables =
        "[server]\nport = 0\nadmin_addr = \"\"\n[modules.asr]\ntype = \"Scripted\"\npath = \"/api/asr\"\n";
    std::fs::write(&path, tables).unwrap();
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -S -n 64 && exec \"$0\" worker --config \"$1\""])
        .arg(env!("CARGO_BIN_EXE_moshi-server"))
        .arg(&path)
        .env_remove("MOSHI_API_KEY")
        .env_remove("BETTER_AUTH_SECRET")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap())
        .lines()
        .map_while(Result::ok);
    assert!(
        lines.any(|line| line.contains("ready")),
        "the worker did not start"
    );
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
    let _ = child.kill();
    let _ = child.wait();
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .unwrap();
    let mut figures = line.split_whitespace().skip(3);
    let (soft, hard) = (figures.next().unwrap(), figures.next().unwrap());
    assert_eq!(soft, hard, "{line}");
    assert_ne!(soft, "64");
}
