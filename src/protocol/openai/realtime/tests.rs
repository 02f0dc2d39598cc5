use serde_json::{Value, json};

use super::*;
use crate::protocol::dialect::FrameKind;
use crate::stream::end::EndReason;
use crate::stream::input::{Control, Encoding, Input, PcmRate};
use crate::stream::output::Output;

/// A client and what it was told.
struct Client {
    dialect: Dialect,
}

impl Client {
    fn new(beta: bool) -> Self {
        Self {
            dialect: open(Settings::new(beta)),
        }
    }

    fn send(&mut self, event: Value) -> Option<Input> {
        let message = event.to_string().into();
        self.dialect.decoder.decode(FrameKind::Text, message).unwrap()
    }

    /// What the client is told by itself.
    fn told(&mut self) -> Vec<Value> {
        let (mut events, mut message) = (Vec::new(), Vec::new());
        while let Some(kind) = self.dialect.encoder.more(&mut message) {
            assert_eq!(kind, FrameKind::Text);
            events.push(serde_json::from_slice(&message).unwrap());
        }
        events
    }

    /// What the client is told of `outputs`.
    fn hear(&mut self, outputs: impl IntoIterator<Item = Output>) -> Vec<Value> {
        let (mut events, mut message) = (Vec::new(), Vec::new());
        for output in outputs {
            if self.dialect.encoder.encode(output, &mut message).is_some() {
                events.push(serde_json::from_slice(&message).unwrap());
            }
            events.extend(self.told());
        }
        events
    }
}

fn steps(frames: std::ops::Range<u64>, pause: f32) -> impl Iterator<Item = Output> {
    frames.map(move |frame| Output::Step {
        frame,
        pauses: [pause; 4].into_iter().collect(),
        queued: 0,
    })
}

fn word(text: &str, start: f64) -> Output {
    let text = text.to_owned();
    Output::Word { text, start }
}

/// The events without their ids, which must all differ.
fn bare(events: Vec<Value>) -> Vec<Value> {
    let mut ids = std::collections::HashSet::new();
    let strip = |mut event: Value| {
        let id = event.as_object_mut().unwrap().remove("event_id").unwrap();
        assert!(ids.insert(id.as_str().unwrap().to_owned()));
        event
    };
    events.into_iter().map(strip).collect()
}

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[test]
fn a_turn_that_the_server_finds_is_told_from_its_first_sign_to_its_transcript() {
    let mut client = Client::new(false);
    assert_eq!(kinds(&client.told()), ["session.created"]);
    let mut outputs = vec![Output::Ready];
    outputs.extend(steps(0..25, 0.9));
    outputs.extend(steps(25..30, 0.1));
    outputs.extend([
        word("Hello", 2.0),
        Output::WordEnd { stop: 2.4 },
        word("there", 2.4),
    ]);
    outputs.extend(steps(30..50, 0.9));
    let mut events = client.hear(outputs);
    assert_eq!(client.dialect.encoder.ask(), Some(Input::Control(Control::Flush)));
    events.extend(client.hear([Output::WordEnd { stop: 2.8 }, Output::Flushed]));
    let events = bare(events);
    let id = events[0]["item_id"].as_str().unwrap().to_owned();
    assert!(id.starts_with("item_"));
    let item = json!({
        "previous_item_id": null,
        "item": {
            "id": id, "type": "message", "object": "realtime.item", "status": "completed", "role": "user",
            "content": [{ "type": "input_audio", "transcript": null }]
        }
    });
    let named = |name: &str, mut fields: Value| {
        fields["type"] = name.into();
        fields
    };
    let transcription = "conversation.item.input_audio_transcription";
    let delta = |text: &str| {
        named(
            &format!("{transcription}.delta"),
            json!({ "item_id": id, "content_index": 0, "delta": text }),
        )
    };
    let expected = [
        named(
            "input_audio_buffer.speech_started",
            json!({ "item_id": id, "audio_start_ms": 2000 }),
        ),
        delta("Hello"),
        delta(" there"),
        named(
            "input_audio_buffer.speech_stopped",
            json!({ "item_id": id, "audio_end_ms": 4000 }),
        ),
        named(
            "input_audio_buffer.committed",
            json!({ "item_id": id, "previous_item_id": null }),
        ),
        named("conversation.item.added", item.clone()),
        named("conversation.item.done", item),
        named(
            &format!("{transcription}.completed"),
            json!({
                "item_id": id, "content_index": 0, "transcript": "Hello there",
                "usage": { "type": "duration", "seconds": 2.0 }
            }),
        ),
    ];
    assert_eq!(events, expected);
}

#[test]
fn each_commit_is_answered_once_whether_or_not_anything_was_said() {
    let mut client = Client::new(false);
    client.send(json!({ "type": "session.update", "session": {
        "type": "transcription", "audio": { "input": { "turn_detection": null } }
    } }));
    let told = client.told();
    assert_eq!(kinds(&told), ["session.created", "session.updated"]);
    assert_eq!(
        told[1]["session"]["audio"]["input"]["turn_detection"],
        Value::Null
    );
    let mut previous = Value::Null;
    for said in ["", "one"] {
        let asked = client.send(json!({ "type": "input_audio_buffer.commit" }));
        assert_eq!(asked, Some(Input::Control(Control::Flush)));
        let words = (!said.is_empty()).then(|| word(said, 1.0));
        let outputs = steps(12..30, 0.1).chain(words).chain(steps(30..90, 0.9));
        let events = client.hear(outputs.chain([Output::Flushed]));
        assert_eq!(client.dialect.encoder.ask(), None, "the client finds the turns");
        let kinds = kinds(&events);
        assert!(!kinds.contains(&"input_audio_buffer.speech_started"), "{kinds:?}");
        let committed = events
            .iter()
            .find(|event| event["type"] == "input_audio_buffer.committed")
            .unwrap();
        assert_eq!(committed["previous_item_id"], previous);
        previous = committed["item_id"].clone();
        assert_eq!(events.last().unwrap()["transcript"], said);
        assert_eq!(events.last().unwrap()["item_id"], previous);
    }
}

#[test]
fn what_was_cleared_is_not_told() {
    let mut client = Client::new(false);
    client.told();
    client.hear([Output::Ready, word("kept", 0.5)]);
    let asked = client.send(json!({ "type": "input_audio_buffer.clear" }));
    assert_eq!(asked, Some(Input::Control(Control::Restart)));
    assert!(client.hear([word("forgotten", 1.0)]).is_empty());
    let events = client.hear([Output::Ready, word("new", 3.0)]);
    assert_eq!(
        kinds(&events),
        [
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.cleared",
            "input_audio_buffer.speech_started",
            "conversation.item.input_audio_transcription.delta"
        ]
    );
    assert_eq!(events[3]["delta"], "new");
}

#[test]
fn the_betas_names_are_for_the_beta() {
    let mut client = Client::new(true);
    client.send(json!({ "type": "transcription_session.update", "session": {
        "input_audio_format": "g711_ulaw", "turn_detection": { "type": "server_vad", "silence_duration_ms": 350 }
    } }));
    let told = client.told();
    assert_eq!(
        kinds(&told),
        ["transcription_session.created", "transcription_session.updated"]
    );
    let session = &told[1]["session"];
    assert_eq!(session["input_audio_format"], "g711_ulaw");
    assert_eq!(
        session["turn_detection"],
        json!({
            "type": "server_vad", "threshold": 0.5, "prefix_padding_ms": 300, "silence_duration_ms": 350
        })
    );
    client.send(json!({ "type": "input_audio_buffer.commit" }));
    let events = client.hear([Output::Flushed]);
    assert!(kinds(&events).contains(&"conversation.item.created"));
}

#[test]
fn audio_is_read_in_the_format_that_was_set() {
    let mut client = Client::new(false);
    let append = |audio: &str| json!({ "type": "input_audio_buffer.append", "audio": audio });
    let Some(Input::Audio(audio)) = client.send(append("AQIDBA")) else {
        panic!()
    };
    assert_eq!(
        (audio.encoding, &*audio.data),
        (Encoding::Pcm16(PcmRate::default()), &[1, 2, 3, 4][..])
    );
    for (format, rate, bytes) in [
        (json!({ "type": "audio/pcm", "rate": 16_000 }), 16_000, 4),
        (json!({ "type": "audio/pcmu" }), 8_000, 8),
        (json!({ "type": "audio/pcma" }), 8_000, 8),
    ] {
        let session = json!({ "audio": { "input": { "format": format } } });
        client.send(json!({ "type": "session.update", "session": session }));
        assert_eq!(
            client.told().last().unwrap()["session"]["audio"]["input"]["format"],
            format
        );
        let Some(Input::Audio(audio)) = client.send(append("AQIDBA==")) else {
            panic!()
        };
        assert_eq!(
            (audio.encoding, audio.data.len()),
            (Encoding::Pcm16(PcmRate::new(rate).unwrap()), bytes)
        );
    }
}

#[test]
fn what_cannot_be_done_is_an_error_that_names_the_event_and_the_session_goes_on() {
    let mut client = Client::new(false);
    client.told();
    for (event, param) in [
        (json!({ "type": "response.create" }), json!("type")),
        (
            json!({ "type": "input_audio_buffer.append", "audio": "*" }),
            json!("audio"),
        ),
        (
            json!({ "type": "session.update", "session": { "type": "realtime" } }),
            json!("session.type"),
        ),
        (
            json!({ "type": "session.update", "session": {
                "audio": { "input": { "format": { "type": "audio/pcm", "rate": 12_345 } } }
            } }),
            json!("session.audio.input.format"),
        ),
    ] {
        let mut event = event;
        event["event_id"] = "mine".into();
        assert_eq!(client.send(event), None);
        let told = bare(client.told());
        assert_eq!(told[0]["type"], "error");
        let error = &told[0]["error"];
        assert_eq!((&error["param"], &error["event_id"]), (&param, &json!("mine")));
        assert_eq!(
            (&error["type"], &error["code"]),
            (&json!("invalid_request_error"), &Value::Null)
        );
    }
    let nonsense = client
        .dialect
        .decoder
        .decode(FrameKind::Binary, vec![1, 2].into())
        .unwrap();
    assert_eq!(nonsense, None);
    assert_eq!(kinds(&client.told()), ["error"]);
}

#[test]
fn models_of_committing_clients_have_no_turns_unless_they_ask_for_them() {
    let turns = |session: Value| {
        let mut settings = Settings::new(false);
        settings.update(&session).unwrap();
        settings.rules().endpoint.map(|endpoint| endpoint.as_millis())
    };
    let input = |input: Value| json!({ "audio": { "input": input } });
    let committing = json!({ "model": "gpt-realtime-whisper" });
    assert_eq!(turns(json!({})), Some(500));
    assert_eq!(turns(input(json!({ "transcription": committing }))), None);
    let asked = json!({ "transcription": committing, "turn_detection": { "type": "server_vad" } });
    assert_eq!(turns(input(asked)), Some(500));
    for (eagerness, millis) in [("auto", 2000), ("low", 3000), ("high", 1000)] {
        let asked = json!({ "turn_detection": { "type": "semantic_vad", "eagerness": eagerness } });
        assert_eq!(turns(input(asked)), Some(millis));
    }
    let mut settings = Settings::new(false);
    settings.take_query("intent=transcription&model=gpt-live-transcribe-1");
    assert!(!settings.finds_turns());
}

#[test]
fn an_update_changes_what_it_names_and_a_wrong_one_nothing() {
    let mut settings = Settings::new(false);
    let first = json!({ "audio": { "input": {
        "transcription": { "model": "m", "language": "en" }, "noise_reduction": { "type": "near_field" }
    } } });
    settings.update(&first).unwrap();
    settings
        .update(&json!({ "audio": { "input": { "transcription": { "language": "fr" } } }, "include": ["x"] }))
        .unwrap();
    let shown = settings.to_json();
    let input = &shown["audio"]["input"];
    assert_eq!(input["transcription"], json!({ "model": "m", "language": "fr" }));
    assert_eq!(input["noise_reduction"], json!({ "type": "near_field" }));
    assert_eq!(shown["include"], json!(["x"]));
    let long = json!({ "include": ["x".repeat(40_000)] });
    assert!(settings.update(&long).is_err());
    assert_eq!(settings.to_json(), shown);
    let wrong = json!({ "include": [], "turn_detection": { "type": "other" } });
    assert!(settings.update(&wrong).is_err());
    assert_eq!(settings.to_json(), shown);
}

#[test]
fn a_client_that_does_not_read_its_answers_is_ended() {
    let mut dialect = open(Settings::new(false));
    let event = json!({ "type": "session.update", "session": {} }).to_string();
    let ended = (0..100).find_map(|_| {
        let message = event.clone().into();
        dialect.decoder.decode(FrameKind::Text, message).err()
    });
    assert_eq!(ended, Some(EndReason::SlowReader.into()));
}
