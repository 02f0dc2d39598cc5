//! One turn as a conversation item: what is said of it from its first sign to its transcript.

use std::collections::VecDeque;

use serde_json::json;

use super::events::event;
use super::ids::new_id;

/// A turn that is not complete yet.
#[derive(Debug)]
pub(super) struct Item {
    id: String,
    /// Where it began, in seconds.
    start: f64,
    /// The client was told that somebody speaks.
    announced: bool,
    text: String,
}

impl Item {
    pub(super) fn new(start: f64) -> Self {
        Self {
            id: new_id("item"),
            start,
            announced: false,
            text: String::new(),
        }
    }

    /// Says that somebody speaks.
    pub(super) fn speech_started(&mut self, to: &mut VecDeque<String>) {
        self.announced = true;
        let at = json!({ "audio_start_ms": millis(self.start), "item_id": self.id });
        to.push_back(event("input_audio_buffer.speech_started", at));
    }

    /// Says one more word.
    pub(super) fn word(&mut self, word: &str, to: &mut VecDeque<String>) {
        let before = self.text.len();
        if before > 0 {
            self.text.push(' ');
        }
        self.text.push_str(word);
        let delta = json!({ "item_id": self.id, "content_index": 0, "delta": self.text[before..] });
        to.push_back(event("conversation.item.input_audio_transcription.delta", delta));
    }

    /// Says that nobody speaks any more, at `end` in seconds, where the client was told that somebody did.
    pub(super) fn speech_stopped(&self, end: f64, to: &mut VecDeque<String>) {
        if self.announced {
            let at = json!({ "audio_end_ms": millis(end), "item_id": self.id });
            to.push_back(event("input_audio_buffer.speech_stopped", at));
        }
    }

    /// Says that the turn, which ended at `end` in seconds, is complete. Returns its id.
    pub(super) fn complete(
        self,
        end: f64,
        previous: Option<&str>,
        beta: bool,
        to: &mut VecDeque<String>,
    ) -> String {
        let Self { id, start, text, .. } = self;
        let committed = json!({ "item_id": id, "previous_item_id": previous });
        to.push_back(event("input_audio_buffer.committed", committed));
        let item = json!({ "previous_item_id": previous, "item": {
            "id": id,
            "type": "message",
            "object": "realtime.item",
            "status": "completed",
            "role": "user",
            "content": [{ "type": "input_audio", "transcript": null }],
        } });
        if beta {
            to.push_back(event("conversation.item.created", item));
        } else {
            to.push_back(event("conversation.item.added", item.clone()));
            to.push_back(event("conversation.item.done", item));
        }
        let seconds = millis((end - start).max(0.0)) as f64 / 1000.0;
        let completed = json!({
            "item_id": id,
            "content_index": 0,
            "transcript": text,
            "usage": { "type": "duration", "seconds": seconds },
        });
        to.push_back(event(
            "conversation.item.input_audio_transcription.completed",
            completed,
        ));
        id
    }
}

/// Whole milliseconds.
fn millis(seconds: f64) -> u64 {
    (seconds.max(0.0) * 1000.0).round() as u64
}
