//! Cases of the WebSocket protocol: frames, and what the server does after them.

use tokio::io::AsyncWriteExt as _;

use super::Server;
use super::frames::{Event, FIN, PING, close, events, frame, open};

/// Text frames of this form are read and not looked at.
pub const CLASSIC: &str = "";
/// Every binary message of this form is audio.
pub const PCM16: &str = "input=pcm16";

/// The server answers with these pongs and is still open.
pub fn open_after(pongs: &[&[u8]]) -> Vec<Event> {
    let pongs = pongs.iter().map(|payload| Event::Pong(payload.to_vec()));
    pongs
        .chain([
            Event::Pong(b"still there?".to_vec()),
            Event::Close(1000),
            Event::End,
        ])
        .collect()
}

/// The server answers with these pongs and closes with this code.
pub fn closed_after(pongs: &[&[u8]], code: u16) -> Vec<Event> {
    let pongs = pongs.iter().map(|payload| Event::Pong(payload.to_vec()));
    pongs.chain([Event::Close(code), Event::End]).collect()
}

pub struct Case {
    pub name: String,
    pub query: &'static str,
    pub bytes: Vec<u8>,
    /// Bytes written at once.
    pub piece: usize,
    pub wanted: Vec<Event>,
}

pub fn case(name: impl Into<String>, frames: &[Vec<u8>], wanted: Vec<Event>) -> Case {
    Case {
        name: name.into(),
        query: CLASSIC,
        bytes: frames.concat(),
        piece: usize::MAX,
        wanted,
    }
}

/// Each case on a connection of its own. A ping and a close follow, to see whether the server is still there.
pub async fn check(cases: Vec<Case>) {
    let server = Server::start("batch_size = 4", "[limits]\nmax_message_bytes = 66000").await;
    for Case {
        name,
        query,
        bytes,
        piece,
        wanted,
    } in cases
    {
        let mut stream = open(server.address, query).await;
        let epilogue = [frame(FIN | PING, b"still there?"), close(1000, b"")].concat();
        for piece in bytes.chunks(piece).chain([&*epilogue]) {
            // The server may have closed already.
            if stream.write_all(piece).await.is_err() {
                break;
            }
            if piece.len() == 1 {
                tokio::task::yield_now().await;
            }
        }
        assert_eq!(events(&mut stream).await, wanted, "{name}");
    }
}
