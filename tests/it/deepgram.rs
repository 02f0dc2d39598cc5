//! Deepgram's live route, as its clients use it.

use serde_json::{Value, json};

use crate::common::json::{Heard, JsonClient, pcm16};
use crate::common::{FRAME, Server, speech};

const ONE: &str = "batch_size = 1";
const LIVE: &str = "/v1/listen?model=nova-3&encoding=linear16&sample_rate=24000&interim_results=true&vad_events=true\
                    &utterance_end_ms=1000&punctuate=true&endpointing=300&language=en-US";

async fn connect(server: &Server) -> JsonClient {
    JsonClient::open(server, LIVE, "").await.unwrap()
}

async fn send(client: &mut JsonClient, samples: &[f32]) {
    for chunk in pcm16(samples).chunks(3000) {
        client.client.binary(chunk).await;
    }
}

async fn silence(client: &mut JsonClient, frames: usize) {
    send(client, &vec![0.0; frames * FRAME]).await;
}

fn transcript(results: &Value) -> &str {
    results["channel"]["alternatives"][0]["transcript"]
        .as_str()
        .unwrap()
}

/// Messages up to the first final one.
async fn until_final(client: &mut JsonClient) -> Vec<Value> {
    let mut messages = Vec::new();
    loop {
        messages.extend(client.until("Results").await);
        if messages.last().unwrap()["is_final"] == true {
            return messages;
        }
    }
}

/// All final transcripts among `messages`.
fn finals(messages: &[Value]) -> Vec<&str> {
    let finals = messages.iter().filter(|message| message["is_final"] == true);
    finals.map(transcript).filter(|text| !text.is_empty()).collect()
}

#[tokio::test]
async fn an_utterance_starts_grows_ends_and_is_told_to_have_ended() {
    let server = Server::start(ONE, "").await;
    let mut client = connect(&server).await;
    assert!(
        client.head.to_lowercase().contains("dg-request-id: "),
        "{}",
        client.head
    );
    silence(&mut client, 14).await;
    send(&mut client, &speech("abc")).await;
    silence(&mut client, 10).await;
    let messages = until_final(&mut client).await;
    assert_eq!(messages[0]["type"], "SpeechStarted", "{messages:#?}");
    assert_eq!(messages[1]["is_final"], false);
    assert_eq!(transcript(&messages[1]), "abc");
    let last = messages.last().unwrap();
    assert_eq!((transcript(last), &last["speech_final"]), ("abc", &json!(true)));
    assert_eq!(last["from_finalize"], false);
    assert_eq!(
        last["channel"]["alternatives"][0]["words"][0]["punctuated_word"],
        "abc"
    );
    silence(&mut client, 20).await;
    let ended = client.until("UtteranceEnd").await;
    assert_eq!(ended.len(), 1, "{ended:#?}");
    client.tell(&json!({"type": "CloseStream"})).await;
    let (messages, end) = client.rest().await;
    let metadata = messages.last().unwrap();
    assert_eq!(
        (&metadata["type"], &metadata["duration"]),
        (&json!("Metadata"), &json!(4.0))
    );
    assert_eq!(end, Heard::Closed(1000, "end of stream".to_owned()));
}

#[tokio::test]
async fn each_finalize_has_one_answer_and_a_second_utterance_repeats_no_word() {
    let server = Server::start(ONE, "").await;
    let mut client = connect(&server).await;
    send(&mut client, &speech("abc")).await;
    client.tell(&json!({"type": "KeepAlive"})).await;
    client.tell(&json!({"type": "Finalize"})).await;
    client.tell(&json!({"type": "Finalize"})).await;
    send(&mut client, &speech("de")).await;
    client.tell(&json!({"type": "CloseStream"})).await;
    let (messages, end) = client.rest().await;
    let answers: Vec<_> = messages.iter().filter(|m| m["from_finalize"] == true).collect();
    assert_eq!(answers.len(), 2, "{messages:#?}");
    assert_eq!(finals(&messages), ["abc", "de"]);
    assert_eq!(messages.last().unwrap()["type"], "Metadata");
    assert!(matches!(end, Heard::Closed(1000, _)));
}

#[tokio::test]
async fn the_last_words_come_although_the_audio_just_stops() {
    let server = Server::start(ONE, "").await;
    let mut client = connect(&server).await;
    send(&mut client, &speech("abc")).await;
    let messages = until_final(&mut client).await;
    let last = messages.last().unwrap();
    assert_eq!((transcript(last), &last["speech_final"]), ("abc", &json!(true)));
    // The older way to end a stream.
    client.client.binary(b"").await;
    let (messages, end) = client.rest().await;
    assert_eq!(messages.last().unwrap()["type"], "Metadata");
    assert!(matches!(end, Heard::Closed(1000, _)));
}

#[tokio::test]
async fn messages_that_are_not_understood_are_answered_and_the_stream_goes_on() {
    let server = Server::start(ONE, "").await;
    let mut client = connect(&server).await;
    client.tell(&json!({"type": "Configure", "thresholds": {}})).await;
    client.until("ConfigureFailure").await;
    client.client.text("no json").await;
    client.until("Error").await;
    send(&mut client, &speech("abc")).await;
    client.tell(&json!({"type": "CloseStream"})).await;
    assert_eq!(finals(&client.rest().await.0), ["abc"]);
}

#[tokio::test]
async fn containers_and_telephones_are_heard() {
    let server = Server::start(ONE, "").await;
    let samples = [speech("abc"), vec![0.0; 20 * FRAME]].concat();
    let wav = crate::common::forms::wav(&samples);
    // Every third sample: 8 kHz; a code of mu-law of silence and of each level.
    let telephone: Vec<u8> = samples.iter().step_by(3).map(|sample| mu_law(*sample)).collect();
    for (query, bytes) in [("", wav), ("encoding=mulaw&sample_rate=8000", telephone)] {
        let mut client = JsonClient::open(&server, &format!("/v1/listen?{query}"), "")
            .await
            .unwrap();
        for chunk in bytes.chunks(1000) {
            client.client.binary(chunk).await;
        }
        client.tell(&json!({"type": "CloseStream"})).await;
        let (messages, _) = client.rest().await;
        let heard = finals(&messages).concat();
        assert!(
            heard.contains('b') && heard.contains('c'),
            "{query}: {messages:#?}"
        );
    }
    let mut client = JsonClient::open(&server, "/v1/listen", "").await.unwrap();
    client.client.binary(b"what is this").await;
    let (_, end) = client.rest().await;
    assert!(
        matches!(&end, Heard::Closed(1007, why) if why.starts_with("DATA-0000")),
        "{end:?}"
    );
}

/// The code whose level is nearest, found by trying: slower than a formula, and not the server's.
fn mu_law(sample: f32) -> u8 {
    let level = |code: u8| {
        let code = !code;
        let size = ((f32::from(code & 15) * 2.0 + 33.0) * f32::from(1u16 << ((code >> 4) & 7)) - 33.0) * 4.0;
        if code & 0x80 == 0 { size } else { -size }
    };
    let wanted = sample * 32768.0;
    let distance = |code: &u8| (level(*code) - wanted).abs();
    (0..=255)
        .min_by(|a, b| distance(a).total_cmp(&distance(b)))
        .unwrap()
}

const KEY: &str = "a-key-of-this-server";

#[tokio::test]
async fn credentials_are_taken_where_deepgrams_clients_put_them() {
    let server = Server::with_key(ONE, KEY).await;
    for headers in [
        format!("authorization: Token {KEY}\r\n"),
        format!("authorization: bearer {KEY}\r\n"),
        format!("sec-websocket-protocol: token, {KEY}\r\n"),
        format!("sec-websocket-protocol: token, {KEY}, x-deepgram-session-id, 00-11\r\n"),
    ] {
        let client = JsonClient::open(&server, LIVE, &headers).await.unwrap();
        let selected = client.head.contains("sec-websocket-protocol: token\r\n");
        assert_eq!(selected, headers.contains("protocol"), "{}", client.head);
        assert!(!client.head.contains(KEY));
    }
    let refused = JsonClient::open(&server, LIVE, "").await.err().unwrap();
    let head = refused.to_lowercase();
    assert!(
        refused.starts_with("HTTP/1.1 401") && head.contains("dg-request-id: "),
        "{refused}"
    );
    let (status, said) = server.request("POST", "/v1/auth/grant", b"{}").await;
    assert!(
        status == 401 && said.contains("\"err_code\":\"INVALID_AUTH\""),
        "{said}"
    );

    let key = format!("authorization: Token {KEY}\r\n");
    let (status, said) = server
        .request_with(&key, "POST", "/v1/auth/grant", b"{\"ttl_seconds\":30}")
        .await;
    let body: Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert_eq!(status, 200, "{said}");
    assert!((1..=30).contains(&body["expires_in"].as_i64().unwrap()), "{body}");
    let protocol = format!(
        "sec-websocket-protocol: bearer, {}\r\n",
        body["access_token"].as_str().unwrap()
    );
    let client = JsonClient::open(&server, LIVE, &protocol).await.unwrap();
    assert!(
        client.head.contains("sec-websocket-protocol: bearer\r\n"),
        "{}",
        client.head
    );
}

#[tokio::test]
async fn what_cannot_be_served_is_refused_before_the_upgrade() {
    let server = Server::start(ONE, "[limits]\nqueue_len = 0").await;
    let target = "/v1/listen?encoding=linear16";
    let (status, said) = server.request("GET", target, b"").await;
    assert_eq!(status, 426, "{said}");
    let refused = JsonClient::open(&server, target, "").await.err().unwrap();
    assert!(
        refused.starts_with("HTTP/1.1 400") && refused.contains("sample_rate"),
        "{refused}"
    );
    let _first = connect(&server).await;
    server.wait_for_used(1).await;
    let full = JsonClient::open(&server, LIVE, "").await.err().unwrap();
    assert!(
        full.starts_with("HTTP/1.1 503") && full.contains("retry-after: "),
        "{full}"
    );
}

#[tokio::test]
async fn the_routes_of_other_services_can_be_turned_off() {
    let server = Server::start(ONE, "other_apis = false\n---").await;
    for path in ["/v1/listen", "/api/speech/asr", "/v1/models"] {
        assert_eq!(server.request("GET", path, b"").await.0, 404, "{path}");
    }
}
