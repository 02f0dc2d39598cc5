use std::time::Instant;

use bytes::Bytes;
use serde_json::{Value, json};

use super::shared::MAX_REPLIES;
use super::*;
use crate::protocol::dialect::FrameKind;
use crate::stream::end::{End, EndReason};
use crate::stream::input::{Control, Input};
use crate::stream::output::Output;

fn halves(query: &str) -> Dialect {
    let model = Model {
        name: "asr",
        delay: 6,
    };
    open(&format!("encoding=linear16&sample_rate=16000&{query}"), model).unwrap()
}

fn tell(dialect: &mut Dialect, text: &str) -> Option<Input> {
    let bytes = Bytes::copy_from_slice(text.as_bytes());
    dialect.decoder.decode(FrameKind::Text, bytes).unwrap()
}

/// Everything said because of `output`, without identifiers, which differ each time.
fn said(dialect: &mut Dialect, output: Output) -> Vec<Value> {
    let (mut messages, mut message) = (Vec::new(), Vec::new());
    dialect.encoder.tick(Instant::now());
    let mut kind = dialect.encoder.encode(output, &mut message);
    while kind.is_some() {
        messages.push(nameless(serde_json::from_slice(&message).unwrap()));
        kind = dialect.encoder.more(&mut message);
    }
    messages
}

fn nameless(mut message: Value) -> Value {
    if message["type"] == "Results" {
        let metadata = &mut message["metadata"];
        assert_eq!(metadata["request_id"].as_str().unwrap().len(), 36);
        assert_eq!(metadata["model_uuid"].as_str().unwrap().len(), 36);
        let info = json!({"name": "asr", "version": env!("CARGO_PKG_VERSION"), "arch": "moshi"});
        assert_eq!(metadata["model_info"], info);
        message.as_object_mut().unwrap().remove("metadata");
    }
    message
}

fn step(frame: u64, pause: f32) -> Output {
    Output::Step {
        frame,
        pauses: [pause; 4].into_iter().collect(),
        queued: 0,
    }
}

fn word(text: &str, start: f64) -> Output {
    let text = text.to_owned();
    Output::Word { text, start }
}

fn results(span: (f64, f64), flags: [bool; 3], transcript: &str, words: &Value) -> Value {
    let [is_final, speech_final, from_finalize] = flags;
    json!({"type": "Results", "channel_index": [0, 1], "start": span.0, "duration": span.1, "is_final": is_final,
        "speech_final": speech_final, "from_finalize": from_finalize,
        "channel": {"alternatives": [{"transcript": transcript, "confidence": 1.0, "words": words}]}})
}

#[test]
fn an_utterance_is_said_with_every_field() {
    let mut dialect = halves("interim_results=true&vad_events=true&punctuate=true&utterance_end_ms=1000");
    for frame in 0..20 {
        assert_eq!(said(&mut dialect, step(frame, 0.9)), [Value::Null; 0]);
    }
    let started = json!({"type": "SpeechStarted", "channel": [0, 1], "timestamp": 1.6});
    assert_eq!(said(&mut dialect, step(20, 0.1)), [started]);
    let guess =
        json!([{"word": "hello", "start": 1.6, "end": 1.68, "confidence": 1.0, "punctuated_word": "Hello."}]);
    let interim = results((0.0, 1.68), [false; 3], "Hello.", &guess);
    assert_eq!(said(&mut dialect, word("Hello.", 1.6)), [interim]);
    assert_eq!(
        said(&mut dialect, Output::WordEnd { stop: 1.9 }),
        [Value::Null; 0]
    );
    assert_eq!(said(&mut dialect, step(21, 0.9)), [Value::Null; 0]);
    assert_eq!(dialect.encoder.ask(), Some(Input::Control(Control::Flush)));
    assert_eq!(dialect.encoder.ask(), None);
    let words =
        json!([{"word": "hello", "start": 1.6, "end": 1.9, "confidence": 1.0, "punctuated_word": "Hello."}]);
    let last = results((0.0, 1.9), [true, true, false], "Hello.", &words);
    assert_eq!(said(&mut dialect, Output::Flushed), [last]);
    let mut later = Vec::new();
    for frame in 22..60 {
        later.extend(said(&mut dialect, step(frame, 0.9)));
    }
    assert_eq!(
        later,
        [json!({"type": "UtteranceEnd", "channel": [0, 1], "last_word_end": 1.9})]
    );
}

#[test]
fn by_default_only_finals_are_said_and_words_are_bare() {
    let mut dialect = halves("");
    assert_eq!(said(&mut dialect, word("Yes,", 0.2)), [Value::Null; 0]);
    said(&mut dialect, Output::WordEnd { stop: 0.5 });
    assert_eq!(
        tell(&mut dialect, r#"{"type":"Finalize","channel":0}"#),
        Some(Input::Control(Control::Flush))
    );
    let words = json!([{"word": "yes", "start": 0.2, "end": 0.5, "confidence": 1.0}]);
    let answer = results((0.0, 0.5), [true, false, true], "yes", &words);
    assert_eq!(said(&mut dialect, Output::Flushed), [answer]);
    let empty = results((0.5, 0.0), [true, false, true], "", &json!([]));
    assert_eq!(
        said(&mut dialect, Output::Flushed),
        [empty],
        "each Finalize has an answer"
    );
}

#[test]
fn the_end_is_the_tail_and_then_the_metadata() {
    let mut dialect = halves("");
    let audio = Bytes::from_static(b"\x00\x01\x02\x03");
    dialect.decoder.decode(FrameKind::Binary, audio).unwrap();
    said(&mut dialect, step(0, 0.9));
    said(&mut dialect, word("bye", 0.0));
    let close = tell(&mut dialect, r#"{"type":"CloseStream"}"#);
    assert_eq!(close, Some(Input::Control(Control::End)));
    let [tail, metadata] = &said(&mut dialect, Output::End)[..] else {
        panic!("a tail and the metadata")
    };
    assert_eq!(tail["is_final"], true);
    let uuid = metadata["models"][0].as_str().unwrap();
    assert_eq!(metadata["model_info"][uuid]["name"], "asr");
    assert!(metadata["created"].as_str().unwrap().ends_with('Z'), "{metadata}");
    assert_eq!(metadata["request_id"].as_str().unwrap().len(), 36);
    let digest = "054edec1d0211f624fed0cbca9d4f9400b0e491c43742af2c5b0abebf0c990d8";
    for (field, expected) in [
        ("type", json!("Metadata")),
        ("transaction_key", json!("deprecated")),
        ("sha256", json!(digest)),
        ("duration", json!(0.08)),
        ("channels", json!(1)),
    ] {
        assert_eq!(metadata[field], expected, "{field}");
    }
}

#[test]
fn an_endpoint_behind_the_end_takes_no_answer_from_a_finalize() {
    let mut dialect = halves("");
    said(&mut dialect, word("yes", 0.2));
    tell(&mut dialect, r#"{"type":"Finalize"}"#);
    tell(&mut dialect, r#"{"type":"CloseStream"}"#);
    said(&mut dialect, step(40, 0.9));
    assert_eq!(dialect.encoder.ask(), None, "it would not be answered");
    let answer = &said(&mut dialect, Output::Flushed)[0];
    assert_eq!(answer["from_finalize"], true, "{answer}");
}

#[test]
fn messages_that_are_not_understood_are_answered_and_cost_nothing() {
    let mut dialect = halves("");
    for (text, kind) in [
        (r#"{"type":"Sing"}"#, "Error"),
        ("{", "Error"),
        (r#"{"type":"Configure","thresholds":{}}"#, "ConfigureFailure"),
    ] {
        assert_eq!(tell(&mut dialect, text), None);
        assert!(dialect.decoder.replies());
        let mut message = Vec::new();
        assert_eq!(dialect.encoder.more(&mut message), Some(FrameKind::Text));
        let message: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(message["type"], kind);
        assert!(!dialect.decoder.replies());
    }
    assert_eq!(
        tell(&mut dialect, r#"{"type":"KeepAlive"}"#),
        Some(Input::KeepAlive)
    );
    for _ in 0..1000 {
        tell(&mut dialect, "{");
    }
    let mut replies = 0;
    while dialect.encoder.more(&mut Vec::new()).is_some() {
        replies += 1;
    }
    assert_eq!(
        replies, MAX_REPLIES,
        "a client that does not read costs no memory"
    );
}

#[test]
fn an_empty_message_ends_the_stream_and_bad_audio_has_a_code_that_clients_know() {
    let mut dialect = halves("");
    let end = dialect.decoder.decode(FrameKind::Binary, Bytes::new());
    assert_eq!(end, Ok(Some(Input::Control(Control::End))));
    let model = Model {
        name: "asr",
        delay: 6,
    };
    let mut container = open("", model).unwrap();
    let noise = Bytes::from_static(b"noise");
    let end = container.decoder.decode(FrameKind::Binary, noise).unwrap_err();
    assert_eq!(end.reason, EndReason::BadAudio);
    let (code, text) = container.encoder.close(&end);
    assert!(code == 1007 && text.starts_with("DATA-0000") && text.len() <= 123);
    assert_eq!(container.encoder.close(&End::from(EndReason::Restart)).0, 1012);
}

#[test]
fn a_refusal_names_the_request_in_body_and_header() {
    let refusal = refusal(503, "full");
    let body: Value = serde_json::from_str(&refusal.body).unwrap();
    assert_eq!(
        (&body["err_code"], &body["err_msg"]),
        (&json!("SERVICE_UNAVAILABLE"), &json!("full"))
    );
    assert_eq!(
        refusal.fields[0],
        ("dg-request-id", body["request_id"].as_str().unwrap().to_owned())
    );
    assert_eq!(refusal.fields[1], ("dg-error", "full".to_owned()));
}
