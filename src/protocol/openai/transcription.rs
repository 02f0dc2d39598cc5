//! `POST /v1/audio/transcriptions`: what a form asks for, and the bodies of the answers.

use serde::Serialize;

use super::error::ApiError;

/// The form of an answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ResponseFormat {
    /// The text.
    #[default]
    Json,
    Text,
    Srt,
    Vtt,
    /// The text, its segments and its words, with times.
    VerboseJson,
}

/// What the fields of a form ask for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub format: ResponseFormat,
    /// The words as events, while they are found.
    pub stream: bool,
    /// What the client says is spoken. Models find that out by themselves.
    pub language: Option<String>,
}

impl Options {
    /// Reads the fields, which `get` finds by name. Fields that mean nothing to this server are passed over.
    ///
    /// # Errors
    /// A form of answer that there is not, or that cannot be streamed.
    pub fn read<'f>(get: impl Fn(&str) -> Option<&'f str>) -> Result<Self, ApiError> {
        let format = match get("response_format").unwrap_or("json") {
            "json" | "" => ResponseFormat::Json,
            "text" => ResponseFormat::Text,
            "srt" => ResponseFormat::Srt,
            "vtt" => ResponseFormat::Vtt,
            "verbose_json" => ResponseFormat::VerboseJson,
            _ => {
                let message = "unknown response_format: use json, text, srt, vtt or verbose_json";
                return Err(ApiError::invalid(Some("response_format"), message));
            }
        };
        let stream = get("stream").is_some_and(|value| value.eq_ignore_ascii_case("true") || value == "1");
        if stream && format != ResponseFormat::Json {
            let message = "only response_format json can be streamed: leave out stream, or ask for json";
            return Err(ApiError::invalid(Some("stream"), message));
        }
        let language = get("language").filter(|language| !language.is_empty());
        Ok(Self {
            format,
            stream,
            language: language.map(str::to_owned),
        })
    }

    /// Returns what `verbose_json` says of the language: its name where the client gave the code of one that is known here, what the
    /// client gave, or `unknown`.
    #[must_use]
    pub fn language_name(&self) -> &str {
        match self.language.as_deref() {
            Some("en") => "english",
            Some("fr") => "french",
            Some(other) => other,
            None => "unknown",
        }
    }
}

/// What was used: the length of the audio.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Usage {
    #[serde(rename = "type")]
    kind: &'static str,
    seconds: f64,
}

impl Usage {
    /// `seconds` of audio.
    #[must_use]
    pub const fn of(seconds: f64) -> Self {
        Self {
            kind: "duration",
            seconds,
        }
    }
}

/// A whole transcript with nothing else, as `json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Plain {
    pub text: String,
    pub usage: Usage,
}

/// A whole transcript as `verbose_json`. Times are seconds of the file.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verbose {
    pub task: &'static str,
    pub language: String,
    pub duration: f64,
    pub text: String,
    pub segments: Vec<Segment>,
    pub words: Vec<TimedWord>,
    pub usage: Usage,
}

/// A word of `verbose_json`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TimedWord {
    pub word: String,
    pub start: f64,
    pub end: f64,
}

/// A sentence, or what was said between two pauses. Clients drop a segment that lacks one of Whisper's figures, so they are there; of
/// them this server knows none.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Segment {
    id: usize,
    seek: u32,
    start: f64,
    end: f64,
    text: String,
    tokens: [u32; 0],
    temperature: f64,
    avg_logprob: f64,
    compression_ratio: f64,
    no_speech_prob: f64,
}

impl Segment {
    /// Segment number `id`, of which times and text are known.
    #[must_use]
    pub const fn new(id: usize, start: f64, end: f64, text: String) -> Self {
        Self {
            id,
            seek: 0,
            start,
            end,
            text,
            tokens: [],
            temperature: 0.0,
            avg_logprob: 0.0,
            compression_ratio: 1.0,
            no_speech_prob: 0.0,
        }
    }
}

/// An event of a streamed transcript.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(tag = "type")]
pub enum Event<'e> {
    #[serde(rename = "transcript.text.delta")]
    Delta { delta: &'e str },
    #[serde(rename = "transcript.text.done")]
    Done { text: &'e str, usage: Usage },
}

impl Event<'_> {
    /// Returns the event as it is sent (WHATWG HTML, "server-sent events").
    #[must_use]
    pub fn to_sse(&self) -> String {
        // invariant: plain strings and numbers can always be written.
        sse(&serde_json::to_string(self).unwrap_or_default())
    }
}

/// `data`, one line of JSON, as an event.
#[must_use]
pub fn sse(data: &str) -> String {
    format!("data: {data}\n\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(fields: &[(&str, &'static str)]) -> Result<Options, ApiError> {
        Options::read(|name| {
            fields
                .iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        })
    }

    #[test]
    fn fields_nobody_knows_are_passed_over() {
        let asked = read(&[("model", "whisper-1"), ("hotwords", "x"), ("temperature", "2")]);
        assert_eq!(asked, Ok(Options::default()));
        let asked = read(&[("stream", "True"), ("language", "fr")]).unwrap();
        assert!(asked.stream);
        assert_eq!(asked.language_name(), "french");
        assert_eq!(Options::default().language_name(), "unknown");
    }

    #[test]
    fn what_cannot_be_answered_names_the_field_and_what_there_is() {
        let error = read(&[("response_format", "diarized_json")]).unwrap_err();
        assert_eq!(error.param, Some("response_format"));
        assert!(error.message.contains("verbose_json"), "{}", error.message);
        let error = read(&[("response_format", "srt"), ("stream", "true")]).unwrap_err();
        assert_eq!(error.param, Some("stream"));
    }

    #[test]
    fn a_segment_has_every_field_that_clients_ask_for() {
        let segment = serde_json::to_value(Segment::new(3, 0.5, 1.0, "hi".to_owned())).unwrap();
        let wanted = serde_json::json!({
            "id": 3, "seek": 0, "start": 0.5, "end": 1.0, "text": "hi", "tokens": [], "temperature": 0.0,
            "avg_logprob": 0.0, "compression_ratio": 1.0, "no_speech_prob": 0.0
        });
        assert_eq!(segment, wanted);
    }

    #[test]
    fn events_are_one_line_of_data_each() {
        let delta = Event::Delta { delta: " a\nb" }.to_sse();
        assert_eq!(
            delta,
            "data: {\"type\":\"transcript.text.delta\",\"delta\":\" a\\nb\"}\n\n"
        );
        let done = Event::Done {
            text: "a",
            usage: Usage::of(1.5),
        };
        assert_eq!(
            done.to_sse(),
            "data: {\"type\":\"transcript.text.done\",\"text\":\"a\",\"usage\":{\"type\":\"duration\",\"seconds\":1.5}}\n\n"
        );
    }
}
