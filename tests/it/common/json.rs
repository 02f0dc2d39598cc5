//! A client of another service: JSON over a socket on any path.

use fastwebsockets::OpCode;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::{Client, PATIENCE, Server};

/// What such a client sees.
#[derive(Debug, PartialEq)]
pub enum Heard {
    Message(Value),
    Closed(u16, String),
    /// The connection ended without a close frame.
    Lost,
}

pub struct JsonClient {
    pub client: Client,
    /// Head of the answer to the upgrade.
    pub head: String,
}

impl JsonClient {
    /// Connects to `target`, a path with its query; the whole answer where it is refused.
    pub async fn open(server: &Server, target: &str, headers: &str) -> Result<Self, String> {
        let stream = TcpStream::connect(server.address).await.unwrap();
        let (client, head) = Client::upgrade_at(stream, target, headers).await?;
        Ok(Self { client, head })
    }

    pub async fn tell(&mut self, message: &Value) {
        self.client.text(&message.to_string()).await;
    }

    /// The next thing the server does, pings aside.
    pub async fn hear(&mut self) -> Heard {
        loop {
            let frame = timeout(PATIENCE, self.client.socket.read_frame()).await;
            let Ok(frame) = frame.expect("the server says nothing") else {
                return Heard::Lost;
            };
            match frame.opcode {
                OpCode::Ping => {}
                OpCode::Text => return Heard::Message(serde_json::from_slice(&frame.payload).unwrap()),
                OpCode::Close => {
                    let (code, reason) = frame.payload.split_first_chunk::<2>().unwrap();
                    let reason = String::from_utf8_lossy(reason).into_owned();
                    return Heard::Closed(u16::from_be_bytes(*code), reason);
                }
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// Messages up to the first of type `kind`, that one included.
    pub async fn until(&mut self, kind: &str) -> Vec<Value> {
        let mut messages = Vec::new();
        loop {
            match self.hear().await {
                Heard::Message(message) => {
                    let last = message["type"] == kind;
                    messages.push(message);
                    if last {
                        return messages;
                    }
                }
                other => panic!("{other:?} after {messages:#?}"),
            }
        }
    }

    /// Everything up to the end of the connection, and how it ended.
    pub async fn rest(&mut self) -> (Vec<Value>, Heard) {
        let mut messages = Vec::new();
        loop {
            match self.hear().await {
                Heard::Message(message) => messages.push(message),
                end => return (messages, end),
            }
        }
    }
}

/// `samples` as little-endian 16-bit PCM.
pub fn pcm16(samples: &[f32]) -> Vec<u8> {
    samples
        .iter()
        .flat_map(|sample| ((sample * 32768.0) as i16).to_le_bytes())
        .collect()
}
