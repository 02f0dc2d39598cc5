//! Writes what a Realtime client is told: its turns, their words, and the answers to its events.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use super::events::event;
use super::item::Item;
use super::shared::{Asked, Shared};
use crate::protocol::close;
use crate::protocol::dialect::{Encoder, FrameKind};
use crate::protocol::segmenter::{Cause, Event, Segmenter};
use crate::stream::end::End;
use crate::stream::input::{Control, Input};
use crate::stream::output::Output;

/// The half that writes.
pub(super) struct Writer {
    shared: Arc<Mutex<Shared>>,
    segmenter: Segmenter,
    item: Option<Item>,
    /// The last complete item.
    previous: Option<String>,
    /// The stream has begun.
    ready: bool,
    now: Instant,
    /// Events that were not written yet: those of one output.
    events: VecDeque<String>,
}

impl Writer {
    pub(super) fn new(shared: Arc<Mutex<Shared>>) -> Self {
        let rules = shared.lock().settings.rules();
        Self {
            shared,
            segmenter: Segmenter::new(rules),
            item: None,
            previous: None,
            ready: false,
            now: Instant::now(),
            events: VecDeque::new(),
        }
    }

    fn hear(&mut self, output: &Output) {
        if *output == Output::Ready {
            // Every further one answers a clear.
            if std::mem::replace(&mut self.ready, true) {
                self.cleared();
            }
            return;
        }
        let clearing = self.shared.lock().asked.front() == Some(&Asked::Clear);
        let mut found = Vec::new();
        self.segmenter.hear(output, self.now, &mut found);
        // What comes out of audio that the client wants forgotten is not for it.
        for event in found.into_iter().filter(|_| !clearing) {
            self.tell(event);
        }
    }

    fn tell(&mut self, event: Event) {
        match event {
            Event::SpeechStarted { at } => {
                if self.shared.lock().settings.finds_turns() {
                    let item = self.item.get_or_insert_with(|| Item::new(at));
                    item.speech_started(&mut self.events);
                }
            }
            Event::Word => {
                if let Some(word) = self.segmenter.open().last() {
                    let item = self.item.get_or_insert_with(|| Item::new(word.start));
                    item.word(&word.text, &mut self.events);
                }
            }
            Event::Final {
                start, end, cause, ..
            } => self.turn(cause, start, end),
            Event::UtteranceEnd { .. } => {}
        }
    }

    /// The turn is over, or the client committed what there is, which is answered in any case.
    fn turn(&mut self, cause: Cause, start: f64, end: f64) {
        let mut shared = self.shared.lock();
        let committed = cause == Cause::Flush && shared.asked.front() == Some(&Asked::Commit);
        if committed {
            shared.asked.pop_front();
        }
        let beta = shared.settings.is_beta();
        drop(shared);
        let Some(item) = self.item.take().or_else(|| committed.then(|| Item::new(start))) else {
            return;
        };
        item.speech_stopped(end, &mut self.events);
        let id = item.complete(end, self.previous.as_deref(), beta, &mut self.events);
        self.previous = Some(id);
    }

    fn cleared(&mut self) {
        let mut shared = self.shared.lock();
        if shared.asked.front() != Some(&Asked::Clear) {
            return;
        }
        shared.asked.pop_front();
        if let Some(item) = self.item.take() {
            item.speech_stopped(self.segmenter.heard(), &mut self.events);
        }
        self.segmenter = Segmenter::new(shared.settings.rules());
        self.events
            .push_back(event("input_audio_buffer.cleared", serde_json::json!({})));
    }
}

impl Encoder for Writer {
    fn encode(&mut self, output: Output, message: &mut Vec<u8>) -> Option<FrameKind> {
        self.hear(&output);
        self.more(message)
    }

    fn more(&mut self, message: &mut Vec<u8>) -> Option<FrameKind> {
        if self.events.is_empty() {
            let mut shared = self.shared.lock();
            self.events.append(&mut shared.replies);
            if std::mem::take(&mut shared.changed) {
                self.segmenter.set_rules(shared.settings.rules());
            }
        }
        let event = self.events.pop_front()?;
        message.clear();
        message.extend_from_slice(event.as_bytes());
        Some(FrameKind::Text)
    }

    fn tick(&mut self, now: Instant) {
        self.now = now;
        self.segmenter.tick(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.segmenter.deadline()
    }

    fn ask(&mut self) -> Option<Input> {
        self.segmenter
            .take_flush()
            .then_some(Input::Control(Control::Flush))
    }

    // Clients take an `error` for the last word; the code of the close frame is what they try again for.
    fn refuse(&mut self, _: &str, _: &mut Vec<u8>) -> Option<FrameKind> {
        None
    }

    fn close<'e>(&self, end: &'e End) -> (u16, &'e str) {
        close::frame(end)
    }
}
