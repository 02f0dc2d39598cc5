//! How WebSockets open and close: the handshakes at both ends, by RFC 6455, sections 4.2 and 7.

use crate::common::Server;
use crate::common::frames::{
    CLOSE, CONTINUATION, Event, FIN, PING, TEXT, close, events, frame, handshake, open,
};
use tokio::io::AsyncWriteExt as _;

const ONE: &str = "batch_size = 1";

/// What the server does after `frames`.
async fn after(server: &Server, frames: &[Vec<u8>]) -> Vec<Event> {
    let mut stream = open(server.address, "").await;
    // It may close before it has read all.
    let _ = stream.write_all(&frames.concat()).await;
    events(&mut stream).await
}

fn closes(code: u16) -> Vec<Event> {
    vec![Event::Close(code), Event::End]
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code_and_ends_the_connection() {
    let server = Server::start(ONE, "").await;
    let codes = [
        1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999,
    ];
    for code in codes {
        assert_eq!(after(&server, &[close(code, b"")]).await, closes(code));
        assert_eq!(after(&server, &[close(code, b"because")]).await, closes(code));
    }
    assert_eq!(
        after(&server, &[frame(FIN | CLOSE, b"")]).await,
        closes(1000),
        "no code"
    );
    assert_eq!(
        after(&server, &[close(1000, &[b'*'; 123])]).await,
        closes(1000),
        "the longest reason"
    );
}

#[tokio::test]
async fn nothing_counts_after_a_close_frame() {
    let server = Server::start(ONE, "").await;
    let end = close(1001, b"");
    for more in [
        end.clone(),
        close(1003, b""),
        frame(FIN | PING, b"p"),
        frame(FIN | TEXT, b"late"),
        frame(FIN | TEXT, b"\xff"),
        frame(FIN | CONTINUATION, b"late"),
        frame(FIN | 3, b""),
    ] {
        assert_eq!(
            after(&server, &[end.clone(), more.clone()]).await,
            closes(1001),
            "{more:x?}"
        );
    }
    let within = [frame(TEXT, b"begun"), end, frame(FIN | CONTINUATION, b"ended")];
    assert_eq!(after(&server, &within).await, closes(1001), "within a message");
}

#[tokio::test]
async fn codes_that_may_not_be_sent_close_with_1002() {
    let server = Server::start(ONE, "").await;
    let codes = [
        0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535,
    ];
    for code in codes {
        assert_eq!(after(&server, &[close(code, b"")]).await, closes(1002), "{code}");
        assert_eq!(
            after(&server, &[close(code, b"because")]).await,
            closes(1002),
            "{code}"
        );
    }
}

#[tokio::test]
async fn close_frames_that_are_none_are_told_so() {
    let server = Server::start(ONE, "").await;
    assert_eq!(
        after(&server, &[frame(FIN | CLOSE, b"\x03")]).await,
        closes(1002),
        "half a code"
    );
    assert_eq!(
        after(&server, &[close(1000, &[b'*'; 124])]).await,
        closes(1002),
        "126 bytes"
    );
    for reason in [&b"\xff"[..], b"Hello\xce", b"\xce\xba\xe1\xbd\xb9\xed\xa0\x80"] {
        assert_eq!(
            after(&server, &[close(1000, reason)]).await,
            closes(1007),
            "{reason:x?}"
        );
    }
}

#[tokio::test]
async fn a_key_is_sixteen_bytes_of_base64() {
    let server = Server::start(ONE, "").await;
    for (key, status) in [
        ("dGhlIHNhbXBsZSBub25jZQ==", "101"),
        ("x3JJHMbDL1EzLkh9GBhXDw==", "101"),
        // The last bits mean nothing.
        ("AAAAAAAAAAAAAAAAAAAAAB==", "101"),
        ("", "400"),
        ("no base64 in here, truly", "400"),
        ("dGhlIHNhbXBsZSBub25jZQ", "400"),
        ("AAAAAAAAAAAAAAAAAAAA", "400"),
        ("AAAAAAAAAAAAAAAAAAAAAAAA", "400"),
        ("AAAAAAAAAAAAAAAAAAAAAAA=", "400"),
        (
            "AAAAAAAAAAAAAAAAAAAAAA==\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==",
            "400",
        ),
    ] {
        let lines = format!("sec-websocket-version: 13\r\nsec-websocket-key: {key}\r\n");
        let (_, head) = handshake(server.address, "1.1", "", &lines).await;
        assert_eq!(head.split(' ').nth(1), Some(status), "{key}: {head}");
    }
    let (_, head) = handshake(server.address, "1.1", "", "sec-websocket-version: 13\r\n").await;
    assert!(head.starts_with("HTTP/1.1 400"), "no key at all: {head}");
}

#[tokio::test]
async fn other_versions_are_told_which_one_is_spoken() {
    let server = Server::start(ONE, "").await;
    let key = "sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    for version in [
        "",
        "sec-websocket-version: 8\r\n",
        "sec-websocket-version: 14\r\n",
        "sec-websocket-version: 13, 8\r\n",
    ] {
        let (_, head) = handshake(server.address, "1.1", "", &format!("{version}{key}")).await;
        assert!(head.starts_with("HTTP/1.1 426"), "{version}: {head}");
        assert!(
            head.contains("\r\nsec-websocket-version: 13\r\n"),
            "{version}: {head}"
        );
    }
}
