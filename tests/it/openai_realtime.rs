//! OpenAI's Realtime API over real sockets: sessions, turns, commits, credentials of pages.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use fastwebsockets::OpCode;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::common::{Client, FRAME, PATIENCE, Server, speech};

const ROUTE: &str = "/v1/realtime?intent=transcription";
const ONE: &str = "batch_size = 1";

/// A client of the Realtime API.
struct Realtime(Client);

impl Realtime {
    async fn open(server: &Server, headers: &str) -> Result<Self, String> {
        Client::open_at(server.address, ROUTE, headers).await.map(Self)
    }

    async fn send(&mut self, event: Value) {
        self.0.text(&event.to_string()).await;
    }

    async fn append(&mut self, samples: &[f32]) {
        let bytes: Vec<u8> = samples
            .iter()
            .flat_map(|s| ((s * 32768.0) as i16).to_le_bytes())
            .collect();
        let audio = STANDARD.encode(bytes);
        self.send(json!({ "type": "input_audio_buffer.append", "audio": audio }))
            .await;
    }

    /// The next event, or the code of the close frame.
    async fn next(&mut self) -> Result<Value, u16> {
        loop {
            let frame = timeout(PATIENCE, self.0.socket.read_frame())
                .await
                .expect("the server says nothing")
                .unwrap();
            match frame.opcode {
                OpCode::Text => return Ok(serde_json::from_slice(&frame.payload).unwrap()),
                OpCode::Close => return Err(u16::from_be_bytes(*frame.payload.first_chunk().unwrap())),
                OpCode::Ping => {}
                other => panic!("unexpected {other:?}"),
            }
        }
    }

    /// The events up to the next `last`.
    async fn until(&mut self, last: &str) -> Vec<Value> {
        let mut events = Vec::new();
        loop {
            let event = self.next().await.unwrap();
            assert_ne!(event["type"], "error", "{event}");
            let is_last = event["type"] == last;
            events.push(event);
            if is_last {
                return events;
            }
        }
    }
}

const COMPLETED: &str = "conversation.item.input_audio_transcription.completed";

fn kinds(events: &[Value]) -> Vec<&str> {
    events
        .iter()
        .map(|event| event["type"].as_str().unwrap())
        .collect()
}

#[tokio::test]
async fn turns_come_by_themselves_and_have_one_item_each() {
    let server = Server::start(ONE, "").await;
    let mut client = Realtime::open(&server, "").await.unwrap();
    let created = client.next().await.unwrap();
    assert_eq!(created["type"], "session.created");
    assert_eq!(created["session"]["type"], "transcription");
    client
        .send(
            json!({ "type": "session.update", "session": { "type": "transcription", "audio": { "input": {
            "transcription": { "model": "whisper-1" }, "turn_detection": { "type": "server_vad" }
        } } } }),
        )
        .await;
    assert_eq!(client.next().await.unwrap()["type"], "session.updated");
    let mut previous = Value::Null;
    for said in ["abc", "de"] {
        client.append(&vec![0.0; 20 * FRAME]).await;
        client.append(&speech(said)).await;
        client.append(&vec![0.0; 40 * FRAME]).await;
        let events = client.until(COMPLETED).await;
        let kinds = kinds(&events);
        let place = |kind: &str| kinds.iter().position(|other| other.ends_with(kind)).unwrap();
        assert!(place("speech_started") < place("delta"), "{kinds:?}");
        assert!(place("delta") < place("speech_stopped"), "{kinds:?}");
        assert!(place("speech_stopped") < place("committed"), "{kinds:?}");
        let completed = events.last().unwrap();
        assert_eq!(completed["transcript"], said);
        let items = events.iter().filter_map(|event| event.get("item_id"));
        assert!(items.into_iter().all(|id| *id == completed["item_id"]));
        assert_eq!(events[place("committed")]["previous_item_id"], previous);
        previous = completed["item_id"].clone();
    }
}

#[tokio::test]
async fn a_commit_is_answered_at_once_and_a_clear_forgets() {
    let server = Server::start(ONE, "").await;
    let mut client = Realtime::open(&server, "").await.unwrap();
    let off = json!({ "turn_detection": null });
    client
        .send(json!({ "type": "session.update", "session": { "audio": { "input": off } } }))
        .await;
    client.append(&speech("abc")).await;
    client.send(json!({ "type": "input_audio_buffer.commit" })).await;
    let events = client.until(COMPLETED).await;
    assert_eq!(events.last().unwrap()["transcript"], "abc");
    assert!(!kinds(&events).contains(&"input_audio_buffer.speech_started"));
    // Nothing is there: no error, which would end the commonest clients.
    client.send(json!({ "type": "input_audio_buffer.commit" })).await;
    assert_eq!(client.until(COMPLETED).await.last().unwrap()["transcript"], "");
    client.append(&speech("de")).await;
    client.send(json!({ "type": "input_audio_buffer.clear" })).await;
    client.append(&speech("fgh")).await;
    client.send(json!({ "type": "input_audio_buffer.commit" })).await;
    let events = client.until(COMPLETED).await;
    assert!(kinds(&events).contains(&"input_audio_buffer.cleared"));
    let transcript = events.last().unwrap()["transcript"].as_str().unwrap();
    assert!(transcript.ends_with("fgh"), "{transcript}");
}

#[tokio::test]
async fn a_client_that_waits_for_a_row_is_greeted_at_once() {
    let server = Server::start(ONE, "").await;
    let mut live = server.connect("").await;
    live.hear().await;
    let mut client = Realtime::open(&server, "").await.unwrap();
    assert_eq!(client.next().await.unwrap()["type"], "session.created");
    client
        .send(json!({ "type": "session.update", "session": {} }))
        .await;
    assert_eq!(client.next().await.unwrap()["type"], "session.updated");
    client.append(&speech("abc")).await;
    client.send(json!({ "type": "input_audio_buffer.commit" })).await;
    drop(live);
    assert_eq!(client.until(COMPLETED).await.last().unwrap()["transcript"], "abc");
}

#[tokio::test]
async fn a_full_server_lets_a_client_in_to_say_so() {
    let server = Server::start(ONE, "[limits]\nqueue_len = 0").await;
    let mut live = server.connect("").await;
    live.hear().await;
    let mut client = Realtime::open(&server, "").await.unwrap();
    let end = loop {
        match client.next().await {
            Ok(event) => assert_ne!(event["type"], "error", "a client takes it for the last word"),
            Err(code) => break code,
        }
    };
    assert_eq!(end, 1013);
}

#[tokio::test]
async fn a_whole_recording_may_be_one_message() {
    let server = Server::start(ONE, "").await;
    let mut client = Realtime::open(&server, "").await.unwrap();
    let mut samples = speech("abc");
    // More than `max_message_bytes` in base64.
    samples.resize(300_000, 0.0);
    client.append(&samples).await;
    client.send(json!({ "type": "input_audio_buffer.commit" })).await;
    let events = client.until(COMPLETED).await;
    assert_eq!(events.last().unwrap()["transcript"], "abc");
    client.append(&vec![0.0; 800_000]).await;
    let end = loop {
        if let Err(code) = client.next().await {
            break code;
        }
    };
    assert_eq!(end, 1009);
}

#[tokio::test]
async fn the_beta_is_told_apart_by_its_header_or_its_subprotocol() {
    let server = Server::start(ONE, "").await;
    for header in [
        "openai-beta: realtime=v1\r\n",
        "sec-websocket-protocol: realtime, openai-beta.realtime-v1\r\n",
    ] {
        let mut client = Realtime::open(&server, header).await.unwrap();
        let created = client.next().await.unwrap();
        assert_eq!(created["type"], "transcription_session.created", "{header}");
        assert_eq!(created["session"]["input_audio_format"], "pcm16");
    }
}

#[tokio::test]
async fn a_secret_for_pages_opens_several_sockets_with_its_settings_and_buys_no_other() {
    let key = "a-key-for-this-server-1";
    let server = Server::with_key("batch_size = 2", key).await;
    let bearer = |credential: &str| format!("authorization: Bearer {credential}\r\n");
    let refused = Realtime::open(&server, "").await.err().unwrap();
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    assert!(refused.contains("content-type: application/json"), "{refused}");

    let path = "/v1/realtime/client_secrets";
    let body = json!({
        "expires_after": { "anchor": "created_at", "seconds": 60 },
        "session": { "type": "transcription", "audio": { "input": { "format": { "type": "audio/pcmu" } } } }
    })
    .to_string();
    let (status, said) = server
        .request_with(&bearer(key), "POST", path, body.as_bytes())
        .await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("cache-control: no-store"), "{said}");
    let made: Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    let secret = made["value"].as_str().unwrap().to_owned();
    assert!(secret.starts_with("ek_") && made["expires_at"].as_i64().unwrap() > 0);
    assert_eq!(
        made["session"]["audio"]["input"]["format"],
        json!({ "type": "audio/pcmu" })
    );

    let offers = format!("sec-websocket-protocol: realtime, openai-insecure-api-key.{secret}\r\n");
    for headers in [offers, bearer(&secret)] {
        let mut client = Realtime::open(&server, &headers).await.unwrap();
        let created = client.next().await.unwrap();
        assert_eq!(
            created["session"]["audio"]["input"]["format"],
            json!({ "type": "audio/pcmu" })
        );
    }
    let (status, said) = server.request_with(&bearer(&secret), "POST", path, b"").await;
    assert_eq!(status, 403, "{said}");

    let (status, said) = server
        .request_with(
            &bearer(key),
            "POST",
            "/v1/realtime/transcription_sessions",
            b"{\"input_audio_format\":\"pcm16\"}",
        )
        .await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("\"client_secret\":{"), "{said}");
    for wrong in [
        "{\"expires_after\":{\"seconds\":5}}",
        "{\"session\":{\"type\":\"realtime\"}}",
        "nonsense",
    ] {
        let (status, said) = server
            .request_with(&bearer(key), "POST", path, wrong.as_bytes())
            .await;
        assert_eq!(status, 400, "{wrong}: {said}");
        assert!(said.contains("\"error\":{"), "{said}");
    }
}
