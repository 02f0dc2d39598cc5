//! Gradium's live route, as its clients use it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::common::json::{Heard, JsonClient, pcm16};
use crate::common::{FRAME, Server, speech};

const ONE: &str = "batch_size = 1";
const PATH: &str = "/api/speech/asr";

async fn connect(server: &Server) -> JsonClient {
    JsonClient::open(server, PATH, "").await.unwrap()
}

async fn send(client: &mut JsonClient, bytes: &[u8]) {
    for chunk in bytes.chunks(4096) {
        client
            .tell(&json!({"type": "audio", "audio": STANDARD.encode(chunk)}))
            .await;
    }
}

fn types(messages: &[Value]) -> Vec<&str> {
    messages
        .iter()
        .filter_map(|message| message["type"].as_str())
        .collect()
}

#[tokio::test]
async fn a_request_goes_from_ready_to_the_end_of_stream() {
    let server = Server::start(ONE, "").await;
    let mut client = connect(&server).await;
    let setup = json!({"type": "setup", "model_name": "default", "input_format": "pcm", "json_config": {"language": "en"},
        "client_req_id": "r1"});
    client.tell(&setup).await;
    let Heard::Message(ready) = client.hear().await else {
        panic!("the connection ended")
    };
    assert_eq!(
        (&ready["type"], &ready["delay_in_tokens"]),
        (&json!("ready"), &json!(6))
    );
    assert_eq!(
        (&ready["model_name"], &ready["client_req_id"]),
        (&json!("asr"), &json!("r1"))
    );
    send(&mut client, &pcm16(&speech("abc"))).await;
    client.tell(&json!({"type": "flush", "flush_id": "1"})).await;
    let flushed = client.until("flushed").await;
    assert_eq!(flushed.last().unwrap()["flush_id"], "1");
    let text = flushed.iter().find(|message| message["type"] == "text").unwrap();
    assert_eq!((&text["text"], &text["start_s"]), (&json!("abc"), &json!(0.16)));
    assert_eq!(types(&flushed).iter().filter(|kind| **kind == "step").count(), 6);
    assert!(types(&flushed).contains(&"end_text"), "{flushed:#?}");
    assert_eq!(flushed[0]["vad"].as_array().unwrap().len(), 4);
    client.tell(&json!({"type": "flush", "flush_id": 2})).await;
    assert_eq!(client.until("flushed").await.last().unwrap()["flush_id"], 2);
    client.tell(&json!({"type": "end_of_stream"})).await;
    let (messages, end) = client.rest().await;
    assert_eq!(types(&messages), ["end_of_stream"]);
    assert!(matches!(end, Heard::Closed(1000, _)));
}

#[tokio::test]
async fn clients_that_name_no_format_send_wav() {
    let server = Server::start(ONE, "").await;
    let mut client = connect(&server).await;
    client.tell(&json!({"type": "setup", "json_config": "{}"})).await;
    let samples = [speech("abc"), vec![0.0; 8 * FRAME]].concat();
    send(&mut client, &crate::common::forms::wav(&samples)).await;
    client.tell(&json!({"type": "end_of_stream"})).await;
    let (messages, _) = client.rest().await;
    assert_eq!(messages[0]["type"], "ready");
    let text = messages.iter().find(|message| message["type"] == "text").unwrap();
    assert_eq!(text["text"], "abc");
}

#[tokio::test]
async fn what_is_wrong_is_said_before_the_close() {
    let server = Server::start(ONE, "").await;
    let mut client = connect(&server).await;
    client.tell(&json!({"type": "audio", "audio": ""})).await;
    let (messages, end) = client.rest().await;
    assert_eq!(
        (types(&messages), &messages[0]["code"]),
        (vec!["error"], &json!(1007))
    );
    assert!(matches!(end, Heard::Closed(1007, _)));
}

#[tokio::test]
async fn a_full_server_lets_clients_in_to_tell_them() {
    let server = Server::start(ONE, "[limits]\nqueue_len = 0").await;
    let _first = connect(&server).await;
    server.wait_for_used(1).await;
    let mut second = connect(&server).await;
    let (messages, end) = second.rest().await;
    assert_eq!(
        (types(&messages), &messages[0]["code"]),
        (vec!["error"], &json!(1013))
    );
    assert!(matches!(end, Heard::Closed(1013, _)), "{end:?}");
}

#[tokio::test]
async fn credentials_are_taken_where_gradiums_clients_put_them() {
    const KEY: &str = "a-key-of-this-server";
    let server = Server::with_key(ONE, KEY).await;
    let refused = JsonClient::open(&server, PATH, "").await.err().unwrap();
    assert!(refused.starts_with("HTTP/1.1 401"), "{refused}");
    let (status, said) = server.request("GET", "/api/api-keys/token", b"").await;
    assert!(status == 401 && said.contains("{\"detail\":"), "{said}");
    let key = format!("x-api-key: {KEY}\r\nx-api-source: test\r\n");
    drop(JsonClient::open(&server, PATH, &key).await.unwrap());
    let (status, said) = server.request_with(&key, "GET", "/api/api-keys/token", b"").await;
    let body: Value = serde_json::from_str(said.split("\r\n\r\n").nth(1).unwrap()).unwrap();
    assert!(
        status == 200 && body["expires_at"].as_str().unwrap().ends_with('Z'),
        "{said}"
    );
    let target = format!("{PATH}?token={}", body["token"].as_str().unwrap());
    JsonClient::open(&server, &target, "").await.unwrap();
    let again = JsonClient::open(&server, &target, "").await.err().unwrap();
    assert!(again.starts_with("HTTP/1.1 401"), "it is good once: {again}");
}
