//! WebSocket frames by hand: what a client library would never send, and exactly what the server answers.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{PATH, PATIENCE};

pub const FIN: u8 = 0x80;
pub const CONTINUATION: u8 = 0x0;
pub const TEXT: u8 = 0x1;
pub const BINARY: u8 = 0x2;
pub const CLOSE: u8 = 0x8;
pub const PING: u8 = 0x9;
pub const PONG: u8 = 0xa;

const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A masked frame; `first` is its first byte: FIN, reserved bits, opcode.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    bytes.extend(MASK);
    bytes.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ MASK[i % 4]));
    bytes
}

/// The same without a mask.
pub fn unmasked(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = header(first, payload.len());
    bytes[1] &= 0x7f;
    bytes.extend(payload);
    bytes
}

/// The header of a masked frame, without its mask.
pub fn header(first: u8, length: usize) -> Vec<u8> {
    let mut bytes = vec![first];
    if length < 126 {
        bytes.push(0x80 | length as u8);
    } else if let Ok(length) = u16::try_from(length) {
        bytes.push(0x80 | 126);
        bytes.extend(length.to_be_bytes());
    } else {
        bytes.push(0x80 | 127);
        bytes.extend((length as u64).to_be_bytes());
    }
    bytes
}

/// A close frame with a code and a reason.
pub fn close(code: u16, reason: &[u8]) -> Vec<u8> {
    frame(FIN | CLOSE, &[&code.to_be_bytes(), reason].concat())
}

/// What the server does for the sake of the WebSocket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Pong(Vec<u8>),
    /// Its close frame: the code.
    Close(u16),
    /// The end of the connection.
    End,
}

/// A request for a WebSocket with these header lines besides `Host` and `Upgrade`; the socket, and the head of the answer.
pub async fn handshake(address: SocketAddr, version: &str, query: &str, lines: &str) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!(
        "GET {PATH}?{query} HTTP/{version}\r\nhost: localhost\r\nconnection: Upgrade\r\nupgrade: websocket\r\n{lines}\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        let byte = timeout(PATIENCE, stream.read_u8())
            .await
            .expect("the server says nothing");
        answer.push(byte.expect("the connection was lost"));
    }
    (stream, String::from_utf8(answer).unwrap())
}

/// An open WebSocket.
pub async fn open(address: SocketAddr, query: &str) -> TcpStream {
    let lines = "sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
    let (stream, head) = handshake(address, "1.1", query, lines).await;
    assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    assert!(
        head.contains("s3pPLMBiTxaQ9kYGzzhZRbK+xOo="),
        "RFC 6455, section 1.3: {head}"
    );
    stream
}

/// Everything up to the end of the connection, but for messages and the server's own pings.
pub async fn events(stream: &mut TcpStream) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let event = timeout(PATIENCE, event(stream))
            .await
            .unwrap_or_else(|_| panic!("only {events:?}"));
        events.extend(event.clone());
        if event == Some(Event::End) {
            return events;
        }
    }
}

async fn event(stream: &mut TcpStream) -> Option<Event> {
    let mut head = [0; 2];
    if stream.read_exact(&mut head).await.is_err() {
        return Some(Event::End);
    }
    let length = match head[1] {
        126 => usize::from(stream.read_u16().await.unwrap()),
        127 => usize::try_from(stream.read_u64().await.unwrap()).unwrap(),
        short => usize::from(short),
    };
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    match head[0] & 0xf {
        CLOSE => Some(Event::Close(u16::from_be_bytes([payload[0], payload[1]]))),
        PONG => Some(Event::Pong(payload)),
        _ => None,
    }
}
