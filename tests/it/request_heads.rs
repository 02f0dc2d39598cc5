//! How much of a request is heard before its body.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::common::{PATIENCE, Server, eventually};

/// Header lines of a session whose cache was cut into chunks, `bytes` long in all.
fn cookies(bytes: usize) -> String {
    let mut pairs = Vec::new();
    let mut left = bytes;
    while left > 0 {
        let value = left.min(3900);
        pairs.push(format!(
            "better-auth.session_data.{}={}",
            pairs.len(),
            "x".repeat(value)
        ));
        left -= value;
    }
    format!("cookie: {}\r\n", pairs.join("; "))
}

#[tokio::test]
async fn the_cookies_of_a_large_profile_are_heard() {
    let server = Server::start("batch_size = 1", "").await;
    for bytes in [16_800, 27_000, 60_000] {
        let (status, answer) = server
            .request_with(&cookies(bytes), "GET", "/api/auth-check", b"")
            .await;
        assert_eq!(status, 200, "{bytes}: {answer}");
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_told_so_and_counted() {
    let server = Server::start("batch_size = 1", "").await;
    let (status, answer) = server
        .request_with(&cookies(70_000), "GET", "/api/auth-check", b"")
        .await;
    assert_eq!(status, 431);
    assert!(
        answer.contains("may have 65536") && answer.contains("cookies"),
        "{answer}"
    );
    let refused = |n: u32| format!("moshi_connection_unserved_total{{reason=\"head\"}} {n}\n");
    assert!(server.meters.render().contains(&refused(1)));
    let server = Server::start("batch_size = 1", "[limits]\nmax_head_bytes = 8192").await;
    assert_eq!(
        server.request_with(&cookies(9_000), "GET", "/livez", b"").await.0,
        431
    );
    // One without an end.
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let endless = format!("GET /livez HTTP/1.1\r\n{}", cookies(100_000));
    let _ = stream.write_all(endless.as_bytes()).await;
    let _ = timeout(PATIENCE, stream.read_to_end(&mut Vec::new()))
        .await
        .expect("it is read for ever");
    eventually(async || server.meters.render().contains(&refused(2))).await;
}
