//! Deepgram's route for whole files, as its clients use it.

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::common::forms::wav;
use crate::common::json::pcm16;
use crate::common::{Server, speech};

const ONE: &str = "batch_size = 1";

async fn post(server: &Server, headers: &str, query: &str, body: &[u8]) -> (u16, Value) {
    let path = format!("/v1/listen?{query}");
    let (status, said) = server.request_with(headers, "POST", &path, body).await;
    let body = said.split("\r\n\r\n").nth(1).unwrap_or_default();
    (
        status,
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{said}")),
    )
}

#[tokio::test]
async fn a_file_is_answered_with_its_words_its_hash_and_its_length() {
    let server = Server::start(ONE, "").await;
    let file = wav(&speech("abc"));
    let kind = "content-type: audio/wav\r\n";
    let (status, answer) = post(
        &server,
        kind,
        "model=nova-3&smart_format=true&utterances=true",
        &file,
    )
    .await;
    assert_eq!(status, 200, "{answer}");
    let metadata = &answer["metadata"];
    let digest: String = Sha256::digest(&file)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(metadata["sha256"], json!(digest));
    assert_eq!(metadata["duration"], json!(0.48));
    let said = &answer["results"]["channels"][0]["alternatives"][0];
    assert_eq!(
        (&said["transcript"], &said["words"][0]["start"]),
        (&json!("abc"), &json!(0.16))
    );
    assert_eq!(answer["results"]["utterances"][0]["transcript"], "abc");
}

#[tokio::test]
async fn raw_audio_is_read_as_the_query_says() {
    let server = Server::start(ONE, "").await;
    let raw = pcm16(&speech("abc"));
    let (status, answer) = post(&server, "", "encoding=linear16&sample_rate=24000", &raw).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        answer["results"]["channels"][0]["alternatives"][0]["transcript"],
        "abc"
    );
    let digest: String = Sha256::digest(&raw)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    assert_eq!(answer["metadata"]["sha256"], json!(digest), "of what was sent");
}

#[tokio::test]
async fn what_is_no_file_is_refused_in_deepgrams_shape() {
    let server = Server::start(ONE, "").await;
    let url = br#"{"url":"https://example.org/a.wav"}"#;
    let json_kind = "content-type: application/json\r\n";
    for (headers, query, body, words) in [
        (json_kind, "", &url[..], "URL"),
        ("", "callback=https://example.org", &[][..], "callback"),
        ("", "", b"no audio at all, whatever it says of itself", ""),
    ] {
        let (status, answer) = post(&server, headers, query, body).await;
        assert!(status == 400 || status == 422, "{status} {answer}");
        assert_eq!(answer["err_code"], "Bad Request", "{answer}");
        assert!(answer["err_msg"].as_str().unwrap().contains(words), "{answer}");
        assert_eq!(answer["request_id"].as_str().unwrap().len(), 36);
    }
}
