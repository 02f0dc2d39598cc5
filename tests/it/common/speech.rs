//! A server that speaks, and a client that listens.

use fastwebsockets::OpCode;
use moshi_server::protocol::kyutai::tts::SpeechMsg;
use serde::Serialize;

use super::{Client, FRAME, PATIENCE, Server, of_type};

/// What a client of a speaking module sees.
#[derive(Clone, Debug, PartialEq)]
pub enum Heard {
    Message(SpeechMsg),
    /// Bytes outside messages.
    Bytes(Vec<u8>),
    Closed(u16, String),
    /// The connection ended without a close frame.
    Lost,
}

#[derive(Serialize)]
#[serde(tag = "type")]
pub enum Tell<'a> {
    Text {
        text: &'a str,
    },
    Eos,
    Voice {
        embeddings: &'a [f32],
        shape: &'a [usize],
    },
    Flush,
    Cancel,
}

impl Server {
    /// A server with a scripted model that speaks. `keys` go to its table, `rest` as in [`Server::start`].
    pub async fn speaking(keys: &str, rest: &str) -> Self {
        Self::run(of_type("ScriptedTts", "", keys, rest), &[], |_| None).await
    }

    /// The same, for the holders of the keys in the file at `key_file`.
    pub async fn speaking_for(key_file: &std::path::Path, keys: &str) -> Self {
        let rest = format!("[auth]\nkey_file = {key_file:?}");
        Self::speaking(keys, &rest).await
    }
}

impl Client {
    /// Says `message` as MessagePack.
    pub async fn tell(&mut self, message: &Tell<'_>) {
        let bytes = rmp_serde::to_vec_named(message).unwrap();
        self.binary(&bytes).await;
    }

    /// Ends the text.
    pub async fn eos(&mut self) {
        self.binary(&[0]).await;
    }

    /// The next thing the server does, pings aside; `messages` tells whether binary frames are messages.
    pub async fn heard(&mut self, messages: bool) -> Heard {
        loop {
            let frame = tokio::time::timeout(PATIENCE, self.socket.read_frame())
                .await
                .expect("the server says nothing");
            let Ok(frame) = frame else { return Heard::Lost };
            return match frame.opcode {
                OpCode::Binary if messages => Heard::Message(rmp_serde::from_slice(&frame.payload).unwrap()),
                OpCode::Binary => Heard::Bytes(frame.payload.to_vec()),
                OpCode::Close => {
                    let (code, reason) = frame.payload.split_first_chunk::<2>().unwrap();
                    Heard::Closed(
                        u16::from_be_bytes(*code),
                        String::from_utf8_lossy(reason).into_owned(),
                    )
                }
                OpCode::Ping => continue,
                other => panic!("unexpected {other:?}"),
            };
        }
    }

    /// All messages to the end of the connection, and how it ended.
    pub async fn speech(&mut self) -> (Vec<SpeechMsg>, Heard) {
        let mut all = Vec::new();
        loop {
            match self.heard(true).await {
                Heard::Message(message) => all.push(message),
                end => return (all, end),
            }
        }
    }

    /// All messages up to one that `is_last`, and that one.
    pub async fn until(&mut self, is_last: impl Fn(&SpeechMsg) -> bool) -> Vec<SpeechMsg> {
        let mut all = Vec::new();
        loop {
            match self.heard(true).await {
                Heard::Message(message) => all.push(message),
                end => panic!("{end:?} after {all:?}"),
            }
            if all.last().is_some_and(&is_last) {
                return all;
            }
        }
    }
}

/// The audio in `messages`.
pub fn audio(messages: &[SpeechMsg]) -> Vec<f32> {
    let pcm = |message: &SpeechMsg| match message {
        SpeechMsg::Audio { pcm } => pcm.clone(),
        _ => Vec::new(),
    };
    messages.iter().flat_map(pcm).collect()
}

/// The words in `messages` with their first frame and the frame behind them.
pub fn said(messages: &[SpeechMsg]) -> Vec<(String, u64, u64)> {
    let frame = |seconds: f64| (seconds * 12.5).round() as u64;
    let word = |message: &SpeechMsg| match message {
        SpeechMsg::Text {
            text,
            start_s,
            stop_s,
        } => Some((text.clone(), frame(*start_s), frame(*stop_s))),
        _ => None,
    };
    messages.iter().filter_map(word).collect()
}

/// What the scripted model said in `samples` at 24 kHz: a letter per loud frame, `.` for a silent one.
pub fn letters(samples: &[f32]) -> String {
    letters_at(samples, FRAME)
}

/// The same, with frames of `frame` samples.
pub fn letters_at(samples: &[f32], frame: usize) -> String {
    let letter = |samples: &[f32]| {
        let power = samples.iter().map(|x| x * x).sum::<f32>() / samples.len() as f32;
        match (power.log2() + 16.0).round() {
            quiet if quiet < -1.0 => '.',
            loud => char::from(b'a' + (loud.max(0.0) as u8).min(15)),
        }
    };
    samples.chunks_exact(frame).map(letter).collect()
}

/// Times that the tone in `samples` rises through zero in a second.
pub fn pitch(samples: &[f32]) -> f32 {
    let rises = samples.windows(2).filter(|w| w[0] < 0.0 && w[1] >= 0.0).count();
    rises as f32 * 24_000.0 / samples.len() as f32
}
