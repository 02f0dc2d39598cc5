//! Messages of both sides, as they are on the wire. Times are seconds of the client's audio.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What a client says. Unknown fields are ignored.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ClientMessage {
    Setup {
        input_format: Option<String>,
        client_req_id: Option<Value>,
    },
    Audio {
        /// Base64.
        audio: String,
    },
    Flush {
        /// A number or a string; some clients send one, some the other.
        #[serde(default)]
        flush_id: Value,
    },
    EndOfStream,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub(super) enum ServerMessage<'m> {
    Ready {
        request_id: &'m str,
        model_name: &'m str,
        sample_rate: u32,
        frame_size: usize,
        delay_in_frames: u32,
        /// The same; clients differ in which they read.
        delay_in_tokens: u32,
        text_stream_names: [&'m str; 0],
    },
    Text {
        text: &'m str,
        start_s: f64,
        stream_id: u32,
    },
    EndText {
        stop_s: f64,
        stream_id: u32,
    },
    Step {
        vad: Vec<Pause>,
        step_idx: u64,
        step_duration_s: f64,
        total_duration_s: f64,
    },
    Flushed {
        flush_id: Value,
    },
    EndOfStream,
    Error {
        message: &'m str,
        code: u16,
    },
}

/// How likely nobody speaks for a time.
#[derive(Debug, Serialize)]
pub(super) struct Pause {
    pub horizon_s: f64,
    pub inactivity_prob: f32,
}

/// A message with the client's name for its request.
#[derive(Debug, Serialize)]
pub(super) struct Named<'m> {
    #[serde(flatten)]
    pub message: ServerMessage<'m>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_req_id: Option<Value>,
}
