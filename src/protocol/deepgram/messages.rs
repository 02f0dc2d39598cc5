//! Messages of both sides, as they are on the wire.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::text::bare;
use crate::clock::unix_now;
use crate::protocol::{segmenter, uuid};

/// What a client says besides audio. Unknown fields are ignored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(tag = "type")]
pub(super) enum ClientMessage {
    KeepAlive,
    Finalize,
    CloseStream,
    Configure,
}

/// Number and count of channels: always the first of one.
const CHANNEL: [u8; 2] = [0, 1];

#[derive(Debug, Serialize)]
#[serde(tag = "type")]
pub(super) enum ServerMessage<'m> {
    Results {
        channel_index: [u8; 2],
        duration: f64,
        start: f64,
        is_final: bool,
        speech_final: bool,
        from_finalize: bool,
        channel: Channel<'m>,
        metadata: ResultsMetadata<'m>,
    },
    SpeechStarted {
        channel: [u8; 2],
        timestamp: f64,
    },
    UtteranceEnd {
        channel: [u8; 2],
        last_word_end: f64,
    },
    Metadata {
        transaction_key: &'static str,
        request_id: &'m str,
        sha256: String,
        created: String,
        duration: f64,
        channels: u8,
        models: [&'m str; 1],
        model_info: BTreeMap<&'m str, &'m ModelInfo>,
    },
    Error {
        variant: &'static str,
        description: &'static str,
        message: &'static str,
    },
    ConfigureFailure {
        request_id: &'m str,
        code: &'static str,
        description: &'static str,
    },
}

#[derive(Debug, Serialize)]
pub(super) struct Channel<'m> {
    pub alternatives: [Alternative<'m>; 1],
}

#[derive(Debug, Serialize)]
pub(super) struct Alternative<'m> {
    pub transcript: String,
    pub confidence: f64,
    pub words: Vec<Word<'m>>,
}

#[derive(Debug, Serialize)]
pub(super) struct Word<'m> {
    pub word: String,
    pub start: f64,
    pub end: f64,
    pub confidence: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub punctuated_word: Option<&'m str>,
}

#[derive(Debug, Serialize)]
pub(super) struct ResultsMetadata<'m> {
    pub request_id: &'m str,
    pub model_info: &'m ModelInfo,
    pub model_uuid: &'m str,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct ModelInfo {
    pub name: String,
    pub version: &'static str,
    pub arch: &'static str,
}

/// The model as messages name it.
#[derive(Clone, Debug)]
pub(super) struct NamedModel {
    pub uuid: String,
    pub info: ModelInfo,
}

impl NamedModel {
    pub(super) fn new(name: &str) -> Self {
        Self {
            uuid: uuid::named(name),
            info: ModelInfo {
                name: name.to_owned(),
                version: env!("CARGO_PKG_VERSION"),
                arch: "moshi",
            },
        }
    }
}

/// How sure the model is: it does not say, and clients leave out what is unsure.
pub(super) const SURE: f64 = 1.0;

impl<'m> ServerMessage<'m> {
    pub(super) fn speech_started(at: f64) -> Self {
        Self::SpeechStarted {
            channel: CHANNEL,
            timestamp: milli(at),
        }
    }

    pub(super) fn utterance_end(last_word_end: f64) -> Self {
        Self::UtteranceEnd {
            channel: CHANNEL,
            last_word_end: milli(last_word_end),
        }
    }

    pub(super) fn metadata(
        model: &'m NamedModel,
        request_id: &'m str,
        sha256: String,
        duration: f64,
    ) -> Self {
        Self::Metadata {
            transaction_key: "deprecated",
            request_id,
            sha256,
            created: now(),
            duration: milli(duration),
            channels: 1,
            models: [&model.uuid],
            model_info: BTreeMap::from([(model.uuid.as_str(), &model.info)]),
        }
    }

    /// A segment between `start` and `end`, in seconds, that is neither final nor the end of anything.
    pub(super) fn results(
        model: &'m NamedModel,
        request_id: &'m str,
        alternative: Alternative<'m>,
        (start, end): (f64, f64),
    ) -> Self {
        Self::Results {
            channel_index: CHANNEL,
            duration: milli(end - start),
            start: milli(start),
            is_final: false,
            speech_final: false,
            from_finalize: false,
            channel: Channel {
                alternatives: [alternative],
            },
            metadata: ResultsMetadata {
                request_id,
                model_info: &model.info,
                model_uuid: &model.uuid,
            },
        }
    }

    pub(super) fn to_json(&self) -> String {
        let json = serde_json::to_string(self);
        // invariant: plain data with string keys is written.
        json.unwrap_or_else(|error| unreachable!("{error}"))
    }
}

impl<'m> Alternative<'m> {
    /// `words` as the model writes them, or in lower case without punctuation.
    pub(super) fn of(words: &'m [segmenter::Word], punctuated: bool) -> Self {
        let words: Vec<_> = words
            .iter()
            .map(|word| {
                let written = punctuated.then_some(word.text.as_str());
                Word::new(bare(&word.text), (word.start, word.end), written)
            })
            .collect();
        let texts = words
            .iter()
            .map(|word| word.punctuated_word.unwrap_or(&word.word));
        Self {
            transcript: texts.collect::<Vec<_>>().join(" "),
            confidence: SURE,
            words,
        }
    }
}

impl<'m> Word<'m> {
    fn new(word: String, (start, end): (f64, f64), punctuated_word: Option<&'m str>) -> Self {
        Self {
            word,
            start: milli(start),
            end: milli(end),
            confidence: SURE,
            punctuated_word,
        }
    }
}

/// The time of day as Deepgram writes it.
pub(super) fn now() -> String {
    let now = OffsetDateTime::from_unix_timestamp(unix_now()).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    now.format(&Rfc3339).unwrap_or_default()
}

/// To whole milliseconds.
pub(super) fn milli(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
