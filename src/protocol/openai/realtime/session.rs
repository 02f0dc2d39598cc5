//! The settings of a Realtime session: what a client may change, and how they are shown to it.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::ids::new_id;
use crate::audio::g711::Law;
use crate::protocol::openai::error::ApiError;
use crate::protocol::query;
use crate::protocol::segmenter::Rules;
use crate::stream::frame::SAMPLE_RATE;
use crate::stream::input::PcmRate;

/// Models whose clients find turns themselves and commit them, unless they say otherwise.
const COMMITTING: [&str; 2] = ["gpt-realtime-whisper", "gpt-live-transcribe"];

/// A turn with as many words, or as long, is completed although it goes on: nothing is kept without a bound.
const MOST_WORDS: usize = 2000;
const LONGEST: Duration = Duration::from_secs(15 * 60);

/// Bytes of the settings as JSON.
const MAX_SETTINGS: usize = 32 << 10;

/// How audio is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Pcm(PcmRate),
    G711(Law),
}

/// The effective settings.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The client speaks the beta's form.
    beta: bool,
    id: String,
    pub(super) format: Format,
    /// As the client gave it: it is echoed.
    transcription: Value,
    /// None while the client left it to the server.
    turn_detection: Option<Value>,
    noise_reduction: Value,
    include: Value,
}

impl Settings {
    /// The settings before the client says anything; `beta` in the beta's form.
    #[must_use]
    pub fn new(beta: bool) -> Self {
        Self {
            beta,
            id: new_id("sess"),
            format: Format::Pcm(PcmRate::default()),
            transcription: json!({ "model": "whisper-1" }),
            turn_detection: None,
            noise_reduction: Value::Null,
            include: Value::Null,
        }
    }

    /// Takes the model that the query names.
    pub fn take_query(&mut self, query: &str) {
        if let Some(model) = query::value(query, "model") {
            self.transcription = json!({ "model": model });
        }
    }

    /// Takes what `session` says; what it leaves out stays as it is. Both forms are read whatever the session's is.
    ///
    /// # Errors
    /// Something that this server cannot do. Nothing is changed then.
    pub fn update(&mut self, session: &Value) -> Result<(), ApiError> {
        let wrong = |param, message: &str| ApiError::invalid(Some(param), message);
        let Some(fields) = session.as_object() else {
            return Err(wrong("session", "`session` must be an object"));
        };
        if fields.get("type").is_some_and(|kind| kind == "realtime") {
            let message =
                "this server transcribes and does not answer: `session.type` must be `transcription`";
            return Err(wrong("session.type", message));
        }
        let mut new = self.clone();
        if let Some(format) = fields.get("input_audio_format") {
            new.format = beta_format(format)?;
        }
        let flat = [
            "input_audio_transcription",
            "turn_detection",
            "input_audio_noise_reduction",
        ];
        new.take(flat.map(|name| fields.get(name)))?;
        if let Some(input) = session.pointer("/audio/input").and_then(Value::as_object) {
            if let Some(format) = input.get("format").filter(|format| !format.is_null()) {
                new.format = released_format(format)?;
            }
            new.take(["transcription", "turn_detection", "noise_reduction"].map(|name| input.get(name)))?;
        }
        if let Some(include) = fields.get("include") {
            new.include = include.clone();
        }
        // They are echoed with every update.
        if new.to_json().to_string().len() > MAX_SETTINGS {
            let message = "the settings are too long: at most 32 KiB of JSON are kept";
            return Err(wrong("session", message));
        }
        *self = new;
        Ok(())
    }

    fn take(&mut self, [transcription, turns, noise]: [Option<&Value>; 3]) -> Result<(), ApiError> {
        match (transcription, self.transcription.as_object_mut()) {
            (Some(Value::Object(given)), Some(known)) => known.extend(given.clone()),
            (Some(given), _) => self.transcription = given.clone(),
            (None, _) => {}
        }
        if let Some(turns) = turns {
            self.turn_detection = Some(turn_detection(turns)?);
        }
        if let Some(noise) = noise {
            self.noise_reduction = noise.clone();
        }
        Ok(())
    }

    /// The turn detection that holds: what the client asked for, or what clients of its model expect.
    fn turns(&self) -> Value {
        let model = self
            .transcription
            .get("model")
            .and_then(Value::as_str)
            .unwrap_or_default();
        match &self.turn_detection {
            Some(turns) => turns.clone(),
            None if COMMITTING.iter().any(|name| model.starts_with(name)) => Value::Null,
            None => server_vad(&Map::new()),
        }
    }

    /// Returns whether the server finds the turns.
    pub(super) fn finds_turns(&self) -> bool {
        !self.turns().is_null()
    }

    /// Where turns end.
    pub(super) fn rules(&self) -> Rules {
        let turns = self.turns();
        let silence = turns.get("silence_duration_ms").and_then(Value::as_u64);
        // The pauses of the model's heads: 1, 2 and 3 seconds.
        let eagerness = turns
            .get("eagerness")
            .and_then(Value::as_str)
            .map(|eagerness| match eagerness {
                "high" => 1000,
                "low" => 3000,
                _ => 2000,
            });
        Rules {
            endpoint: silence.or(eagerness).map(Duration::from_millis),
            utterance_end: None,
            most_words: MOST_WORDS,
            longest: LONGEST,
        }
    }

    pub(super) const fn is_beta(&self) -> bool {
        self.beta
    }

    /// The name of the event that shows the settings first.
    pub(super) const fn created_name(&self) -> &'static str {
        if self.beta {
            "transcription_session.created"
        } else {
            "session.created"
        }
    }

    /// Returns the settings as the client reads them.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let (transcription, turns) = (&self.transcription, self.turns());
        let (noise, include) = (&self.noise_reduction, &self.include);
        if self.beta {
            return json!({
                "id": self.id,
                "object": "realtime.transcription_session",
                "modalities": ["text"],
                "input_audio_format": self.format.beta_name(),
                "input_audio_transcription": transcription,
                "turn_detection": turns,
                "input_audio_noise_reduction": noise,
                "include": include,
            });
        }
        json!({
            "type": "transcription",
            "id": self.id,
            "object": "realtime.transcription_session",
            "audio": { "input": {
                "format": self.format.released_form(),
                "transcription": transcription,
                "turn_detection": turns,
                "noise_reduction": noise,
            } },
            "include": include,
        })
    }
}

impl Format {
    const fn beta_name(self) -> &'static str {
        match self {
            Self::Pcm(_) => "pcm16",
            Self::G711(Law::Mu) => "g711_ulaw",
            Self::G711(Law::A) => "g711_alaw",
        }
    }

    fn released_form(self) -> Value {
        match self {
            Self::Pcm(rate) => json!({ "type": "audio/pcm", "rate": rate.hz() }),
            Self::G711(Law::Mu) => json!({ "type": "audio/pcmu" }),
            Self::G711(Law::A) => json!({ "type": "audio/pcma" }),
        }
    }
}

fn beta_format(format: &Value) -> Result<Format, ApiError> {
    match format.as_str() {
        Some("pcm16") => Ok(Format::Pcm(PcmRate::default())),
        Some("g711_ulaw") => Ok(Format::G711(Law::Mu)),
        Some("g711_alaw") => Ok(Format::G711(Law::A)),
        _ => {
            let message = "unknown input_audio_format: use pcm16, g711_ulaw or g711_alaw";
            Err(ApiError::invalid(Some("session.input_audio_format"), message))
        }
    }
}

fn released_format(format: &Value) -> Result<Format, ApiError> {
    let param = Some("session.audio.input.format");
    match format.get("type").and_then(Value::as_str) {
        Some("audio/pcm") => {
            let rate = format
                .get("rate")
                .map_or(Some(u64::from(SAMPLE_RATE)), Value::as_u64);
            let rate = rate.and_then(|hz| PcmRate::new(u32::try_from(hz).ok()?));
            rate.map(Format::Pcm).ok_or_else(|| {
                let rates = PcmRate::ALL.map(|rate| rate.hz().to_string()).join(", ");
                ApiError::invalid(param, format!("unknown rate of audio/pcm: use one of {rates}"))
            })
        }
        Some("audio/pcmu") => Ok(Format::G711(Law::Mu)),
        Some("audio/pcma") => Ok(Format::G711(Law::A)),
        _ => {
            let message = "unknown audio format: use type audio/pcm, audio/pcmu or audio/pcma";
            Err(ApiError::invalid(param, message))
        }
    }
}

fn turn_detection(asked: &Value) -> Result<Value, ApiError> {
    let Value::Object(fields) = asked else {
        return Ok(Value::Null);
    };
    match fields.get("type").and_then(Value::as_str) {
        Some("server_vad") | None => Ok(server_vad(fields)),
        Some("semantic_vad") => {
            let eagerness = fields.get("eagerness").and_then(Value::as_str).unwrap_or("auto");
            Ok(json!({ "type": "semantic_vad", "eagerness": eagerness }))
        }
        Some(_) => {
            let message = "unknown turn_detection: use type server_vad or semantic_vad, or null";
            Err(ApiError::invalid(Some("session.turn_detection"), message))
        }
    }
}

fn server_vad(asked: &Map<String, Value>) -> Value {
    let number = |name, default: Value| match asked.get(name) {
        Some(Value::Number(given)) => Value::Number(given.clone()),
        _ => default,
    };
    let silence = number("silence_duration_ms", json!(500));
    json!({
        "type": "server_vad",
        "threshold": number("threshold", json!(0.5)),
        "prefix_padding_ms": number("prefix_padding_ms", json!(300)),
        // A negative or broken one is no time.
        "silence_duration_ms": silence.as_f64().map_or(500, |ms| ms.max(0.0) as u64),
    })
}
