//! Transcription of a whole file: options of the query, and the one answer.

use std::collections::BTreeMap;

use serde::Serialize;

use super::messages::{Alternative, ModelInfo, NamedModel, SURE, milli, now};
use super::options::{flag, format, no_callback, punctuated};
use crate::audio::live::Format;
use crate::protocol::query::BadQuery;
use crate::protocol::segmenter::Word;
use crate::protocol::uuid;

/// A silence as long separates utterances; Deepgram's default of `utt_split`. Seconds.
const SPLIT_S: f64 = 0.8;

/// What a client asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Form of a body that is raw audio.
    pub format: Format,
    punctuated: bool,
    utterances: bool,
}

impl Options {
    /// Reads the query string of a request.
    ///
    /// # Errors
    /// It asks for what this server does not do.
    pub fn from_query(query: &str) -> Result<Self, BadQuery> {
        no_callback(query)?;
        Ok(Self {
            format: format(query)?,
            punctuated: punctuated(query)?,
            utterances: flag(query, "utterances")?,
        })
    }

    /// Returns the answer of `model`, as JSON. `hash` is the file's SHA-256, `duration` its length in seconds.
    #[must_use]
    pub fn answer(&self, model: &str, words: &[Word], hash: &[u8; 32], duration: f64) -> String {
        let model = NamedModel::new(model);
        let utterances = self.utterances.then(|| {
            let split = words.chunk_by(|word, next| next.start - word.end < SPLIT_S);
            split.map(|words| Utterance::of(words, self.punctuated)).collect()
        });
        let answer = Answer {
            metadata: Metadata {
                transaction_key: "deprecated",
                request_id: uuid::random(),
                sha256: uuid::hex(hash),
                created: now(),
                duration: milli(duration),
                channels: 1,
                models: [&model.uuid],
                model_info: BTreeMap::from([(model.uuid.as_str(), &model.info)]),
            },
            results: Results {
                channels: [Channel {
                    alternatives: [Alternative::of(words, self.punctuated)],
                }],
                utterances,
            },
        };
        // invariant: plain data with string keys is written.
        serde_json::to_string(&answer).unwrap_or_else(|error| unreachable!("{error}"))
    }
}

#[derive(Serialize)]
struct Answer<'m> {
    metadata: Metadata<'m>,
    results: Results<'m>,
}

#[derive(Serialize)]
struct Metadata<'m> {
    transaction_key: &'static str,
    request_id: String,
    sha256: String,
    created: String,
    duration: f64,
    channels: u8,
    models: [&'m str; 1],
    model_info: BTreeMap<&'m str, &'m ModelInfo>,
}

#[derive(Serialize)]
struct Results<'m> {
    channels: [Channel<'m>; 1],
    #[serde(skip_serializing_if = "Option::is_none")]
    utterances: Option<Vec<Utterance<'m>>>,
}

#[derive(Serialize)]
struct Channel<'m> {
    alternatives: [Alternative<'m>; 1],
}

#[derive(Serialize)]
struct Utterance<'m> {
    start: f64,
    end: f64,
    confidence: f64,
    channel: u8,
    #[serde(flatten)]
    said: Said<'m>,
    id: String,
}

#[derive(Serialize)]
struct Said<'m> {
    transcript: String,
    words: Vec<super::messages::Word<'m>>,
}

impl<'m> Utterance<'m> {
    fn of(words: &'m [Word], punctuated: bool) -> Self {
        let Alternative {
            transcript,
            words: said,
            ..
        } = Alternative::of(words, punctuated);
        Self {
            start: words.first().map_or(0.0, |word| milli(word.start)),
            end: words.last().map_or(0.0, |word| milli(word.end)),
            confidence: SURE,
            channel: 0,
            said: Said {
                transcript,
                words: said,
            },
            id: uuid::random(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(query: &str) -> Value {
        let word = |text: &str, start, end| Word {
            text: text.to_owned(),
            start,
            end,
        };
        let words = [
            word("Hello,", 0.1, 0.4),
            word("you.", 0.5, 0.8),
            word("Bye.", 1.7, 2.0),
        ];
        let options = Options::from_query(query).unwrap();
        serde_json::from_str(&options.answer("asr", &words, &[7; 32], 2.5)).unwrap()
    }

    #[test]
    fn the_answer_has_every_field() {
        let answer = answer("smart_format=true&model=nova-3");
        let metadata = &answer["metadata"];
        let uuid = metadata["models"][0].as_str().unwrap();
        let info = json!({"name": "asr", "version": env!("CARGO_PKG_VERSION"), "arch": "moshi"});
        assert_eq!(metadata["model_info"], json!({uuid: info}));
        assert_eq!(metadata["sha256"], "07".repeat(32));
        assert_eq!(
            (&metadata["duration"], &metadata["channels"]),
            (&json!(2.5), &json!(1))
        );
        assert_eq!(metadata["transaction_key"], "deprecated");
        assert_eq!(metadata["request_id"].as_str().unwrap().len(), 36);
        assert!(metadata["created"].as_str().unwrap().ends_with('Z'));
        let said = &answer["results"]["channels"][0]["alternatives"][0];
        assert_eq!(said["transcript"], "Hello, you. Bye.");
        assert_eq!(said["confidence"], 1.0);
        let first = json!({"word": "hello", "start": 0.1, "end": 0.4, "confidence": 1.0, "punctuated_word": "Hello,"});
        assert_eq!(said["words"][0], first);
        assert_eq!(answer["results"].get("utterances"), None);
    }

    #[test]
    fn utterances_are_split_at_silence() {
        let answer = answer("utterances=true");
        let utterances = answer["results"]["utterances"].as_array().unwrap();
        let said: Vec<_> = utterances
            .iter()
            .map(|u| (&u["transcript"], &u["start"], &u["end"]))
            .collect();
        let (first, second) = (
            (json!("hello you"), json!(0.1), json!(0.8)),
            (json!("bye"), json!(1.7), json!(2.0)),
        );
        assert_eq!(
            said,
            [(&first.0, &first.1, &first.2), (&second.0, &second.1, &second.2)]
        );
        for field in ["confidence", "channel", "words", "id"] {
            assert!(utterances[0].get(field).is_some(), "{field}");
        }
    }
}
