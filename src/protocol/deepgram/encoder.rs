//! What the client is told.

use std::collections::VecDeque;
use std::time::Instant;

use super::messages::{Alternative, NamedModel, ServerMessage};
use super::options::Options;
use super::shared::Shared;
use crate::protocol::close;
use crate::protocol::dialect::{Encoder, FrameKind};
use crate::protocol::segmenter::{self, Cause, Event, Segmenter};
use crate::stream::end::{End, EndReason};
use crate::stream::input::{Control, Input};
use crate::stream::output::Output;

/// What a stream of undecodable audio is closed with; clients know the code.
const BAD_AUDIO: &str = "DATA-0000: the audio cannot be decoded; check encoding and sample_rate, or leave them out for WAV and Ogg";

/// The writing half.
pub(super) struct ListenEncoder {
    options: Options,
    request_id: String,
    model: NamedModel,
    shared: Shared,
    segmenter: Segmenter,
    events: Vec<Event>,
    /// Messages of the last event.
    said: VecDeque<String>,
    now: Instant,
}

impl ListenEncoder {
    pub(super) fn new(options: Options, request_id: String, model: &str, shared: Shared) -> Self {
        Self {
            segmenter: Segmenter::new(options.rules.clone()),
            options,
            request_id,
            model: NamedModel::new(model),
            shared,
            events: Vec::new(),
            said: VecDeque::new(),
            now: Instant::now(),
        }
    }

    fn say(&mut self, event: Event) {
        let message = match event {
            Event::SpeechStarted { at } if self.options.vad_events => ServerMessage::speech_started(at),
            Event::Word if self.options.interim => {
                let words = self.segmenter.open();
                let end = words.last().map_or(0.0, |word| word.end);
                let (start, end) = (self.segmenter.since(), self.segmenter.heard().max(end));
                self.results(words, (start, end))
            }
            Event::SpeechStarted { .. } | Event::Word => return,
            Event::Final {
                words,
                start,
                end,
                cause,
            } => {
                let mut message = self.results(&words, (start, end));
                if let ServerMessage::Results {
                    is_final,
                    speech_final,
                    from_finalize,
                    ..
                } = &mut message
                {
                    *is_final = true;
                    *speech_final = matches!(cause, Cause::Endpoint | Cause::End);
                    *from_finalize = cause == Cause::Flush;
                }
                let message = message.to_json();
                self.said.push_back(message);
                return;
            }
            Event::UtteranceEnd { last_word_end } => ServerMessage::utterance_end(last_word_end),
        };
        let message = message.to_json();
        self.said.push_back(message);
    }

    fn results<'m>(&'m self, words: &'m [segmenter::Word], span: (f64, f64)) -> ServerMessage<'m> {
        let alternative = Alternative::of(words, self.options.punctuated);
        ServerMessage::results(&self.model, &self.request_id, alternative, span)
    }
}

impl Encoder for ListenEncoder {
    fn encode(&mut self, output: Output, message: &mut Vec<u8>) -> Option<FrameKind> {
        let mut events = std::mem::take(&mut self.events);
        self.segmenter.hear(&output, self.now, &mut events);
        for event in events.drain(..) {
            self.say(event);
        }
        self.events = events;
        if output == Output::End {
            let digest = self.shared.digest();
            let duration = self.segmenter.heard();
            let last = ServerMessage::metadata(&self.model, &self.request_id, digest, duration).to_json();
            self.said.push_back(last);
        }
        self.more(message)
    }

    fn more(&mut self, message: &mut Vec<u8>) -> Option<FrameKind> {
        message.clear();
        let said = self.said.pop_front().or_else(|| self.shared.replied())?;
        message.extend(said.as_bytes());
        Some(FrameKind::Text)
    }

    fn tick(&mut self, now: Instant) {
        self.now = now;
        self.segmenter.tick(now);
    }

    fn deadline(&self) -> Option<Instant> {
        self.segmenter.deadline()
    }

    // Behind the end nothing is answered, and the segmenter would take the answer to the client's last flush for its own.
    fn ask(&mut self) -> Option<Input> {
        let flush = !self.shared.has_ended() && self.segmenter.take_flush();
        flush.then_some(Input::Control(Control::Flush))
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![("dg-request-id", self.request_id.clone())]
    }

    fn refuse(&mut self, _: &str, _: &mut Vec<u8>) -> Option<FrameKind> {
        None
    }

    fn close<'e>(&self, end: &'e End) -> (u16, &'e str) {
        match end.reason {
            EndReason::BadAudio => (close::code(end.reason), BAD_AUDIO),
            _ => close::frame(end),
        }
    }
}
