//! What the client is told.

use serde_json::Value;

use super::messages::{Named, Pause, ServerMessage};
use super::shared::Shared;
use crate::protocol::dialect::{Encoder, FrameKind};
use crate::protocol::service::Model;
use crate::protocol::{close, uuid};
use crate::stream::end::{End, EndReason};
use crate::stream::frame::{FRAME_DURATION, FRAME_RATE, FRAME_SAMPLES, SAMPLE_RATE};
use crate::stream::output::{Output, Pauses};

/// Silence that each pause head stands for, in seconds.
const HORIZONS_S: [f64; 4] = [0.5, 1.0, 2.0, 3.0];

/// The writing half.
pub(super) struct SpeechEncoder {
    request_id: String,
    model: String,
    delay: u32,
    shared: Shared,
    /// There is a row, and the client was not told yet: it may not have said what it wants.
    row: bool,
    /// Frames since text last came.
    quiet: u64,
}

impl SpeechEncoder {
    pub(super) fn new(model: Model<'_>, shared: Shared) -> Self {
        Self {
            request_id: uuid::random(),
            model: model.name.to_owned(),
            delay: model.delay,
            shared,
            row: false,
            quiet: 0,
        }
    }

    fn write(&self, said: ServerMessage<'_>, message: &mut Vec<u8>) -> FrameKind {
        let client_req_id = self.shared.0.lock().setup.clone().flatten();
        let named = Named {
            message: said,
            client_req_id,
        };
        message.clear();
        let written = serde_json::to_writer(message, &named);
        // invariant: writing plain data into memory cannot fail.
        debug_assert!(written.is_ok());
        FrameKind::Text
    }

    fn pauses(&self, heads: &Pauses) -> Vec<Pause> {
        let horizons = HORIZONS_S.into_iter().enumerate();
        // Without heads, silence is what had no text; clients wait for an entry of each horizon.
        let quiet_s = self.quiet as f64 / FRAME_RATE;
        let pauses = horizons.map(|(at, horizon_s)| Pause {
            horizon_s,
            inactivity_prob: heads
                .get(at.min(heads.len().saturating_sub(1)))
                .copied()
                .unwrap_or(if quiet_s >= horizon_s { 1.0 } else { 0.0 }),
        });
        pauses.collect()
    }

    fn error(&self, why: &str, code: u16, message: &mut Vec<u8>) -> FrameKind {
        self.write(ServerMessage::Error { message: why, code }, message)
    }
}

impl Encoder for SpeechEncoder {
    fn encode(&mut self, output: Output, message: &mut Vec<u8>) -> Option<FrameKind> {
        let said = match &output {
            Output::Ready => {
                self.row = true;
                return self.more(message);
            }
            Output::Step { frame, pauses, .. } => {
                self.quiet += 1;
                ServerMessage::Step {
                    vad: self.pauses(pauses),
                    step_idx: *frame,
                    step_duration_s: FRAME_DURATION.as_secs_f64(),
                    total_duration_s: (frame + 1) as f64 / FRAME_RATE,
                }
            }
            Output::Word { text, start } => {
                self.quiet = 0;
                ServerMessage::Text {
                    text,
                    start_s: *start,
                    stream_id: 0,
                }
            }
            Output::WordEnd { stop } => ServerMessage::EndText {
                stop_s: *stop,
                stream_id: 0,
            },
            Output::Flushed => {
                let flush_id = self.shared.0.lock().flushes.pop_front();
                ServerMessage::Flushed {
                    flush_id: flush_id.unwrap_or(Value::Null),
                }
            }
            Output::End => ServerMessage::EndOfStream,
            _ => return None,
        };
        Some(self.write(said, message))
    }

    // The first message, which clients wait for: once there is a row and the client has said what it sends.
    fn more(&mut self, message: &mut Vec<u8>) -> Option<FrameKind> {
        if !self.row || self.shared.0.lock().setup.is_none() {
            return None;
        }
        self.row = false;
        let ready = ServerMessage::Ready {
            request_id: &self.request_id,
            model_name: &self.model,
            sample_rate: SAMPLE_RATE,
            frame_size: FRAME_SAMPLES,
            delay_in_frames: self.delay,
            delay_in_tokens: self.delay,
            text_stream_names: [],
        };
        Some(self.write(ready, message))
    }

    fn refuse(&mut self, why: &str, message: &mut Vec<u8>) -> Option<FrameKind> {
        Some(self.error(why, close::code(EndReason::Full), message))
    }

    // Clients learn from it what went wrong; several look at no close code.
    fn farewell(&mut self, end: &End, message: &mut Vec<u8>) -> Option<FrameKind> {
        match end.reason {
            EndReason::Done | EndReason::ClientClosed => None,
            reason => Some(self.error(close::text(end), close::code(reason), message)),
        }
    }

    fn close<'e>(&self, end: &'e End) -> (u16, &'e str) {
        close::frame(end)
    }
}
