use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::protocol::dialect::FrameKind;
use crate::stream::end::{End, EndReason};
use crate::stream::input::{Control, Encoding, Input};
use crate::stream::output::{Output, Pauses};

fn halves() -> Dialect {
    let model = Model {
        name: "asr",
        delay: 6,
    };
    open("", model).unwrap()
}

fn tell(dialect: &mut Dialect, message: &Value) -> Result<Option<Input>, End> {
    let bytes = Bytes::from(message.to_string());
    dialect.decoder.decode(FrameKind::Text, bytes)
}

fn said(dialect: &mut Dialect, output: Output) -> Option<Value> {
    let mut message = Vec::new();
    let kind = dialect.encoder.encode(output, &mut message)?;
    assert_eq!(kind, FrameKind::Text);
    Some(serde_json::from_slice(&message).unwrap())
}

#[test]
fn ready_is_first_and_waits_for_both_the_row_and_the_setup() {
    let setup = json!({"type": "setup", "input_format": "pcm", "json_config": "{}", "model_name": "default"});
    let mut row_first = halves();
    assert_eq!(said(&mut row_first, Output::Ready), None);
    assert_eq!(tell(&mut row_first, &setup), Ok(None));
    assert!(row_first.decoder.replies());
    let mut message = Vec::new();
    assert_eq!(row_first.encoder.more(&mut message), Some(FrameKind::Text));
    let first: Value = serde_json::from_slice(&message).unwrap();
    assert_eq!(row_first.encoder.more(&mut message), None, "once");

    let mut setup_first = halves();
    assert_eq!(tell(&mut setup_first, &setup), Ok(None));
    assert_eq!(setup_first.encoder.more(&mut Vec::new()), None);
    let second = said(&mut setup_first, Output::Ready).unwrap();
    for mut ready in [first, second] {
        let request_id = ready.as_object_mut().unwrap().remove("request_id");
        assert!(request_id.unwrap().as_str().unwrap().len() == 36);
        let expected = json!({"type": "ready", "model_name": "asr", "sample_rate": 24000, "frame_size": 1920,
            "delay_in_frames": 6, "delay_in_tokens": 6, "text_stream_names": []});
        assert_eq!(ready, expected);
    }
}

#[test]
fn every_message_has_every_field_and_the_clients_name_for_it() {
    let mut dialect = halves();
    tell(
        &mut dialect,
        &json!({"type": "setup", "client_req_id": "r1", "json_config": {"a": 1}}),
    )
    .unwrap();
    let step = Output::Step {
        frame: 1,
        pauses: [0.25, 0.5, 0.75, 1.0].into_iter().collect(),
        queued: 0,
    };
    let word = Output::Word {
        text: "hi".to_owned(),
        start: 0.5,
    };
    for (output, expected) in [
        (
            step,
            json!({"type": "step", "vad": [{"horizon_s": 0.5, "inactivity_prob": 0.25}, {"horizon_s": 1.0, "inactivity_prob": 0.5},
                {"horizon_s": 2.0, "inactivity_prob": 0.75}, {"horizon_s": 3.0, "inactivity_prob": 1.0}], "step_idx": 1,
                "step_duration_s": 0.08, "total_duration_s": 0.16}),
        ),
        (
            word,
            json!({"type": "text", "text": "hi", "start_s": 0.5, "stream_id": 0}),
        ),
        (
            Output::WordEnd { stop: 0.75 },
            json!({"type": "end_text", "stop_s": 0.75, "stream_id": 0}),
        ),
        (Output::End, json!({"type": "end_of_stream"})),
    ] {
        let mut expected = expected;
        expected["client_req_id"] = "r1".into();
        assert_eq!(said(&mut dialect, output), Some(expected));
    }
    for output in [
        Output::Queued { position: 1 },
        Output::Mark { id: 1 },
        Output::NotRenewed,
    ] {
        assert_eq!(said(&mut dialect, output), None);
    }
}

#[test]
fn a_flush_is_answered_by_its_own_name_unchanged() {
    let mut dialect = halves();
    tell(&mut dialect, &json!({"type": "setup"})).unwrap();
    let names = [json!(1), json!("1"), json!(null)];
    for name in &names {
        let flush = tell(&mut dialect, &json!({"type": "flush", "flush_id": name}));
        assert_eq!(flush, Ok(Some(Input::Control(Control::Flush))));
    }
    for name in names {
        let answer = json!({"type": "flushed", "flush_id": name});
        assert_eq!(said(&mut dialect, Output::Flushed), Some(answer));
    }
}

#[test]
fn audio_is_of_the_form_that_the_setup_names() {
    for (format, hz, bytes) in [
        (json!("pcm"), 24_000, vec![0, 1, 2]),
        (json!("pcm_16000"), 16_000, vec![0, 1, 2]),
        (
            json!("ulaw_8000"),
            8_000,
            vec![0x84, 0x82, 0x84, 0x86, 0x84, 0x8a],
        ),
    ] {
        let mut dialect = halves();
        tell(&mut dialect, &json!({"type": "setup", "input_format": format})).unwrap();
        let audio = tell(&mut dialect, &json!({"type": "audio", "audio": "AAEC"}));
        let Ok(Some(Input::Audio(audio))) = audio else {
            panic!("{format}: {audio:?}")
        };
        assert!(matches!(audio.encoding, Encoding::Pcm16(rate) if rate.hz() == hz));
        if format == "ulaw_8000" {
            assert_eq!(audio.data.len(), 6, "each code is a sample of two bytes");
        } else {
            assert_eq!(audio.data, bytes);
        }
    }
}

#[test]
fn without_heads_silence_is_what_had_no_text() {
    let mut dialect = halves();
    let step = |frame| Output::Step {
        frame,
        pauses: Pauses::default(),
        queued: 0,
    };
    let quiet = |said: Value| -> Vec<f64> {
        let vad = said["vad"].as_array().unwrap();
        vad.iter()
            .map(|pause| pause["inactivity_prob"].as_f64().unwrap())
            .collect()
    };
    let mut last = Vec::new();
    for frame in 0..13 {
        last = quiet(said(&mut dialect, step(frame)).unwrap());
    }
    assert_eq!(last, [1.0, 1.0, 0.0, 0.0]);
    let text = "x".to_owned();
    said(&mut dialect, Output::Word { text, start: 0.0 });
    assert_eq!(quiet(said(&mut dialect, step(13)).unwrap()), [0.0; 4]);
}

#[test]
fn what_is_wrong_is_said_in_an_error_before_the_close() {
    for (messages, words) in [
        (vec![json!({"type": "audio", "audio": ""})], "setup"),
        (
            vec![json!({"type": "setup", "input_format": "mp3"})],
            "input_format",
        ),
        (
            vec![json!({"type": "setup"}), json!({"type": "setup"})],
            "already",
        ),
        (
            vec![json!({"type": "setup"}), json!({"type": "audio", "audio": "?"})],
            "base64",
        ),
        (vec![json!({"type": "setup"}), json!({"type": "sing"})], "unknown"),
    ] {
        let mut dialect = halves();
        let last = messages.iter().map(|message| tell(&mut dialect, message)).last();
        let end = last.unwrap().unwrap_err();
        let mut message = Vec::new();
        assert_eq!(
            dialect.encoder.farewell(&end, &mut message),
            Some(FrameKind::Text)
        );
        let error: Value = serde_json::from_slice(&message).unwrap();
        assert_eq!(
            (error["type"].as_str(), error["code"].as_u64()),
            (Some("error"), Some(1007))
        );
        assert!(error["message"].as_str().unwrap().contains(words), "{error}");
        assert_eq!(dialect.encoder.close(&end).0, 1007);
    }
    let mut dialect = halves();
    let done = End::from(EndReason::Done);
    assert_eq!(dialect.encoder.farewell(&done, &mut Vec::new()), None);
}
