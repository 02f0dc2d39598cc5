//! Files through OpenAI's routes, over real sockets: every form of answer, streamed, refused.

use serde_json::{Value, json};

use crate::common::forms::{FORM, form, wav};
use crate::common::{FRAME, Server, eventually, speech};

const ROUTE: &str = "/v1/audio/transcriptions";
const ONE: &str = "batch_size = 1";

/// The samples of `abc`, a pause, and `de`.
fn two_words() -> Vec<f32> {
    let mut samples = speech("abc");
    samples.extend(vec![0.0; 30 * FRAME]);
    samples.extend(speech("de"));
    samples
}

fn file(bytes: &[u8]) -> (&'static str, &[u8]) {
    ("name=\"file\"; filename=\"audio.wav\"", bytes)
}

/// The parts of a form of `fields` and then the file.
fn ask(fields: &[(&str, &str)], audio: &[u8]) -> Vec<u8> {
    let heads: Vec<String> = fields
        .iter()
        .map(|(name, _)| format!("name=\"{name}\""))
        .collect();
    let mut parts: Vec<(&str, &[u8])> = heads
        .iter()
        .zip(fields)
        .map(|(head, (_, value))| (&**head, value.as_bytes()))
        .collect();
    parts.push(file(audio));
    form(&parts)
}

async fn post(server: &Server, fields: &[(&str, &str)], audio: &[u8]) -> (u16, String) {
    server
        .request_with(FORM, "POST", ROUTE, &ask(fields, audio))
        .await
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn json_of(answer: &str) -> Value {
    serde_json::from_str(body(answer)).unwrap_or_else(|error| panic!("{error}: {answer}"))
}

#[tokio::test]
async fn a_file_comes_back_in_every_form_of_answer() {
    let server = Server::start(ONE, "").await;
    let audio = wav(&two_words());
    let seconds = (two_words().len() as f64 / 24.0).round() / 1000.0;
    let usage = json!({ "type": "duration", "seconds": seconds });

    let (status, said) = post(&server, &[("model", "whisper-1")], &audio).await;
    assert_eq!(status, 200, "{said}");
    assert_eq!(json_of(&said), json!({ "text": "abc de", "usage": usage }));

    let (_, said) = post(&server, &[("response_format", "text")], &audio).await;
    assert!(said.contains("content-type: text/plain"), "{said}");
    assert!(said.contains("abc de\n"), "{said}");
    let (_, said) = post(&server, &[("response_format", "srt")], &audio).await;
    assert!(said.contains("1\n00:00:00,160 --> "), "{said}");
    let (_, said) = post(&server, &[("response_format", "vtt")], &audio).await;
    assert!(said.contains("WEBVTT\n\n00:00:00.160 --> "), "{said}");

    let fields = [
        ("response_format", "verbose_json"),
        ("language", "en"),
        ("timestamp_granularities[]", "word"),
    ];
    let (_, said) = post(&server, &fields, &audio).await;
    let verbose = json_of(&said);
    assert_eq!(verbose["task"], "transcribe");
    assert_eq!(verbose["language"], "english");
    assert_eq!(verbose["duration"], seconds);
    assert_eq!(verbose["text"], "abc de");
    assert_eq!(verbose["words"][0]["word"], "abc");
    assert_eq!(verbose["words"][0]["start"], 0.16);
    let [first, second] = [0, 1].map(|i| verbose["segments"][i].clone());
    assert_eq!((&first["text"], &second["text"]), (&json!("abc"), &json!("de")));
    assert!(first["end"].as_f64() <= second["start"].as_f64());
    assert_eq!(first.as_object().unwrap().len(), 10, "{first}");
}

#[tokio::test]
async fn the_file_may_stand_before_the_fields() {
    let server = Server::start(ONE, "").await;
    let audio = wav(&two_words());
    let fields: [(&str, &[u8]); 2] = [
        ("name=\"model\"", b"gpt-4o-mini-transcribe"),
        ("name=\"response_format\"", b"text"),
    ];
    let parts = [file(&audio), fields[0], fields[1]];
    let (status, said) = server.request_with(FORM, "POST", ROUTE, &form(&parts)).await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("abc de\n"), "{said}");
}

#[tokio::test]
async fn a_streamed_answer_is_deltas_that_make_up_the_text() {
    let server = Server::start(ONE, "").await;
    let (status, said) = post(&server, &[("stream", "true")], &wav(&two_words())).await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("content-type: text/event-stream"), "{said}");
    let events: Vec<Value> = said
        .lines()
        .filter_map(|line| line.strip_prefix("data: "))
        .map(|data| serde_json::from_str(data).unwrap())
        .collect();
    let deltas: String = events
        .iter()
        .filter_map(|event| event["delta"].as_str())
        .collect();
    let done = events.last().unwrap();
    assert_eq!(events.len(), 3, "{said}");
    assert_eq!(done["type"], "transcript.text.done");
    assert_eq!((&*deltas, &done["text"]), ("abc de", &json!("abc de")));
}

#[tokio::test]
async fn silence_is_an_empty_transcript() {
    let server = Server::start(ONE, "").await;
    let silence = wav(&[0.0; 10 * FRAME]);
    let (status, said) = post(&server, &[("response_format", "verbose_json")], &silence).await;
    assert_eq!(status, 200, "{said}");
    let verbose = json_of(&said);
    assert_eq!((&verbose["text"], &verbose["segments"]), (&json!(""), &json!([])));
    let (_, said) = post(&server, &[("stream", "true")], &silence).await;
    assert!(
        said.contains("\"type\":\"transcript.text.done\",\"text\":\"\""),
        "{said}"
    );
}

#[tokio::test]
async fn what_is_wrong_is_told_in_openais_shape() {
    let server = Server::start(ONE, "[limits]\nmax_file_bytes = 400000").await;
    let audio = wav(&speech("abc"));
    let refused = async |answer: (u16, String), status: u16| {
        assert_eq!(answer.0, status, "{}", answer.1);
        assert!(
            answer.1.contains("content-type: application/json"),
            "{}",
            answer.1
        );
        let error = json_of(&answer.1)["error"].clone();
        assert_eq!(error["type"], "invalid_request_error", "{error}");
        error
    };
    let error = refused(
        post(&server, &[("response_format", "diarized_json")], &audio).await,
        400,
    )
    .await;
    assert_eq!(error["param"], "response_format");
    let both = [("response_format", "srt"), ("stream", "true")];
    assert_eq!(
        refused(post(&server, &both, &audio).await, 400).await["param"],
        "stream"
    );
    refused(post(&server, &[], b"no audio at all").await, 400).await;
    refused(post(&server, &[], &vec![0; 500_000]).await, 413).await;
    let without = form(&[("name=\"model\"", b"whisper-1")]);
    let error = refused(server.request_with(FORM, "POST", ROUTE, &without).await, 400).await;
    assert!(
        error["message"]
            .as_str()
            .unwrap()
            .contains("the form has no file"),
        "{error}"
    );
    let error = refused(server.request("POST", ROUTE, &audio).await, 400).await;
    assert!(
        error["message"].as_str().unwrap().contains("multipart/form-data"),
        "{error}"
    );
    refused(server.request("POST", "/v1/audio/translations", b"").await, 404).await;
    refused(server.request("GET", ROUTE, b"").await, 405).await;
    let unfinished = [
        &ask(&[], &audio)[..],
        b"--edge\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n",
    ]
    .concat();
    let whole = ask(&[], &audio);
    let cut = [
        &whole[..whole.len() - b"--edge--\r\n".len()],
        &unfinished[whole.len()..],
    ]
    .concat();
    refused(server.request_with(FORM, "POST", ROUTE, &cut).await, 400).await;
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_key_of_this_server_is_the_api_key() {
    let key = "a-key-for-this-server-1";
    let server = Server::with_key(ONE, key).await;
    let body = ask(&[("model", "whisper-1")], &wav(&speech("abc")));
    let with = |key: &str| format!("{FORM}authorization: Bearer {key}\r\n");
    let (status, said) = server.request_with(&with(key), "POST", ROUTE, &body).await;
    assert_eq!(status, 200, "{said}");
    for (method, path) in [("POST", ROUTE), ("GET", "/v1/models"), ("GET", "/v1/models/asr")] {
        let (status, said) = server.request_with(&with("wrong"), method, path, &body).await;
        assert_eq!(status, 401, "{path}: {said}");
        let error = &json_of(&said)["error"];
        assert_eq!(error["code"], "invalid_api_key", "{path}: {said}");
        assert!(said.contains("www-authenticate: Bearer"), "{path}: {said}");
    }
}

#[tokio::test]
async fn a_full_server_says_when_to_try_again() {
    let server = Server::start(ONE, "[limits]\nmax_files = 1\nqueue_len = 0").await;
    let mut live = server.connect("").await;
    live.hear().await;
    let (status, said) = post(&server, &[], &wav(&speech("abc"))).await;
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("retry-after: "), "{said}");
    assert_eq!(json_of(&said)["error"]["type"], "server_error");
    drop(live);
    eventually(async || post(&server, &[], &wav(&speech("abc"))).await.0 == 200).await;
}

#[tokio::test]
async fn models_are_the_modules_and_the_name_that_clients_have_by_default() {
    let server = Server::start(ONE, "").await;
    let (status, said) = server.request("GET", "/v1/models", b"").await;
    assert_eq!(status, 200, "{said}");
    let list = json_of(&said);
    assert_eq!(list["object"], "list");
    let ids: Vec<&str> = list["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|model| model["id"].as_str().unwrap())
        .collect();
    assert_eq!(ids, ["asr", "whisper-1"]);
    for id in ids {
        let (status, said) = server.request("GET", &format!("/v1/models/{id}"), b"").await;
        assert_eq!(status, 200, "{said}");
        let model = json_of(&said);
        assert_eq!((&model["id"], &model["object"]), (&json!(id), &json!("model")));
        assert!(model["created"].as_i64().unwrap() > 0);
    }
    let (status, said) = server.request("GET", "/v1/models/other", b"").await;
    assert_eq!(status, 404);
    assert_eq!(json_of(&said)["error"]["code"], "model_not_found");
}

#[tokio::test]
async fn a_client_that_goes_away_while_it_is_streamed_to_leaves_nothing_behind() {
    let server = Server::start("batch_size = 1\nstep_s = 0.02", "").await;
    let mut samples = two_words();
    samples.extend(vec![0.1; 24_000 * 60]);
    let body = ask(&[("stream", "true")], &wav(&samples));
    let mut stream = tokio::net::TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {ROUTE} HTTP/1.1\r\nhost: localhost\r\n{FORM}content-length: {}\r\n\r\n",
        body.len()
    );
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&body).await.unwrap();
    let mut seen = Vec::new();
    while !String::from_utf8_lossy(&seen).contains("transcript.text.delta") {
        assert!(stream.read_buf(&mut seen).await.unwrap() > 0);
    }
    drop(stream);
    server.wait_for_used(0).await;
}
