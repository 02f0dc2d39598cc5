//! Clients that do not behave, and a server that stops while it speaks.

use moshi_server::app::Outcome;
use moshi_server::auth::{Scope, key_file};
use moshi_server::protocol::kyutai::tts::SpeechMsg;

use crate::common::speech::{Heard, Tell, audio, letters};
use crate::common::{Client, Server};

const QUERY: &str = "format=PcmMessagePack";

fn is_sound(message: &SpeechMsg) -> bool {
    matches!(message, SpeechMsg::Audio { .. })
}

#[tokio::test]
async fn a_client_that_never_ends_its_text_gives_its_row_back() {
    let server = Server::speaking("", "[limits]\nidle_s = 0.3").await;
    let mut client = server.connect(QUERY).await;
    client.text("mm nn oo pp kk ll").await;
    let (messages, end) = client.speech().await;
    assert_eq!(end, Heard::Closed(1008, "no text for too long".to_owned()));
    // The last two words wait for more, or for the end.
    assert_eq!(letters(&audio(&messages)), "mm.nn.");
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_client_that_hears_a_long_text_is_not_idle() {
    let server = Server::speaking("step_s = 0.02", "[limits]\nidle_s = 0.3\nstall_s = 0.3").await;
    let mut client = server.connect(QUERY).await;
    client.text(&"p<break time=\"1s\"/>".repeat(10)).await;
    client.eos().await;
    let (messages, end) = client.speech().await;
    assert_eq!(end, Heard::Closed(1000, "end of stream".to_owned()));
    assert_eq!(letters(&audio(&messages)).len(), 140);
}

#[tokio::test]
async fn a_reader_that_stops_stalls_its_own_row_alone_and_is_closed() {
    let rest = "[limits]\nspeech_ahead_s = 0.4\nwrite_timeout_s = 0.5\nstall_s = 0.5";
    let server = Server::speaking("batch_size = 2", rest).await;
    let mut slow = Client::with_small_window(server.address, "format=Pcm").await;
    slow.text(&"mmmmmmmm ".repeat(5000)).await;
    let mut other = server.connect(QUERY).await;
    other.text("pp nn mm").await;
    other.eos().await;
    let (messages, _) = other.speech().await;
    assert_eq!(letters(&audio(&messages)), "pp.nn.mm.");
    // Its row is free although it reads nothing.
    server.wait_for_used(0).await;
    drop(slow);
}

#[tokio::test]
async fn a_cancel_is_heard_behind_text_that_waits_for_a_slow_engine() {
    let server = Server::speaking("step_s = 0.01", "").await;
    let mut client = server.connect("format=PcmMessagePack&extras=1").await;
    client.text(&"mmmmmmmm ".repeat(2000)).await;
    client.until(is_sound).await;
    for _ in 0..3 {
        client.tell(&Tell::Cancel).await;
        client
            .until(|message| matches!(message, SpeechMsg::Cancelled { .. }))
            .await;
        client.text(&"nnnnnnnn ".repeat(2000)).await;
        client.until(is_sound).await;
    }
    drop(client);
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_server_that_stops_finishes_the_sentence_in_its_row() {
    let mut server = Server::speaking("step_s = 0.005", "[limits]\ndrain_s = 1").await;
    let mut client = server.connect("format=PcmMessagePack&extras=1").await;
    client.text("mm nn oo pp kk ll").await;
    client.until(is_sound).await;
    server.stop();
    let (messages, end) = client.speech().await;
    assert_eq!(end, Heard::Closed(1012, "server restarts".to_owned()));
    assert!(
        messages
            .iter()
            .any(|message| matches!(message, SpeechMsg::Draining { .. }))
    );
    assert!(letters(&audio(&messages)).ends_with(".pp.kk.ll."));
    assert_eq!(server.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn a_full_server_says_so_and_serves_who_waited() {
    let server = Server::speaking("", "[limits]\nqueue_len = 1").await;
    let mut first = server.connect(QUERY).await;
    first.until(|message| *message == SpeechMsg::Ready).await;
    let mut second = server.connect("format=PcmMessagePack&extras=1").await;
    let queued = second.heard(true).await;
    assert_eq!(queued, Heard::Message(SpeechMsg::Queued { position: 1 }));
    let refused = Client::open(server.address, QUERY, "").await.err().unwrap();
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    let (status, _) = server
        .request("POST", crate::common::PATH, b"{\"text\": \"a\"}")
        .await;
    assert_eq!(status, 503);
    first.eos().await;
    second.text("pp").await;
    second.eos().await;
    let (messages, _) = second.speech().await;
    assert_eq!(letters(&audio(&messages)), "pp.");
}

#[tokio::test]
async fn classic_clients_of_a_full_server_get_kyutais_error() {
    let server = Server::speaking("", "classic_full = true\n---").await;
    let mut first = server.connect(QUERY).await;
    first.until(|message| *message == SpeechMsg::Ready).await;
    let (messages, end) = server.connect(QUERY).await.speech().await;
    assert!(matches!(&messages[..], [SpeechMsg::Error { message }] if message == "no free channels"));
    assert!(matches!(end, Heard::Closed(1013, _)), "{end:?}");
}

#[tokio::test]
async fn a_failed_model_ends_the_stream_with_1011() {
    let server = Server::speaking("fail_after_steps = 3", "").await;
    let mut client = server.connect(QUERY).await;
    client.text("mmm nnn ooo ppp").await;
    let (_, end) = client.speech().await;
    assert!(matches!(end, Heard::Closed(1011, _)), "{end:?}");
    assert_eq!(server.outcome().await, Outcome::Failed);
}

#[tokio::test]
async fn garbage_closes_its_own_session_with_words() {
    let server = Server::speaking("batch_size = 2", "").await;
    for (bytes, code) in [(&b"\xc1"[..], 1007), (b"\x81\xa4type\xa5Audio", 1003)] {
        let mut client = server.connect(QUERY).await;
        client.binary(bytes).await;
        let (_, end) = client.speech().await;
        assert!(matches!(end, Heard::Closed(found, _) if found == code), "{end:?}");
    }
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn speech_takes_a_key_that_may_speak() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let make = |name: &str, scope| {
        let new = key_file::NewKey {
            scopes: vec![scope],
            ..key_file::NewKey::named(name)
        };
        key_file::create(&path, new, 1_700_000_000).unwrap().reveal()
    };
    let keys = [Scope::Speak, Scope::Listen, Scope::Admin].map(|scope| make(&format!("{scope:?}"), scope));
    let server = Server::speaking_for(&path, "batch_size = 8").await;
    let status = async |key: &str| {
        let headers = format!("kyutai-api-key: {key}\r\n");
        match Client::open(server.address, QUERY, &headers).await {
            Ok(_) => 101,
            Err(head) => head.split(' ').nth(1).unwrap().parse().unwrap(),
        }
    };
    assert_eq!(
        [
            status(&keys[0]).await,
            status(&keys[1]).await,
            status(&keys[2]).await
        ],
        [101, 403, 101]
    );
    let check = format!("kyutai-api-key: {}\r\n", keys[0]);
    let (found, _) = server.request_with(&check, "GET", "/api/auth-check", b"").await;
    assert_eq!(found, 200, "a key that may speak is a good key");
}
