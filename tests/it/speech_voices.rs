//! Whose voice speaks: named, sent, or neither.

use std::path::Path;

use moshi_server::protocol::kyutai::tts::SpeechMsg;

use crate::common::speech::{Heard, Tell, audio, letters, pitch};
use crate::common::{Client, Server};

const QUERY: &str = "format=PcmMessagePack";

/// A file of a voice as the scripted model takes it.
fn voice(dir: &Path, name: &str, pitch: f32, width: usize) {
    let mut numbers = vec![0f32; width];
    numbers[0] = pitch;
    let bytes: Vec<u8> = numbers.iter().flat_map(|x| x.to_le_bytes()).collect();
    let header = format!(
        "{{\"speaker_wavs\":{{\"dtype\":\"F32\",\"shape\":[1,{width},1],\"data_offsets\":[0,{}]}}}}",
        bytes.len()
    );
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.extend(bytes);
    std::fs::write(dir.join(format!("{name}.safetensors")), file).unwrap();
}

/// A server with the voices `high`, which is the default, `low`, and `odd`, which the model does not take.
async fn server(default: bool) -> (tempfile::TempDir, Server) {
    let dir = tempfile::tempdir().unwrap();
    voice(dir.path(), "high", 1000.0, 4);
    voice(dir.path(), "low", 200.0, 4);
    voice(dir.path(), "odd", 200.0, 3);
    let default = if default { "default_voice = \"high\"" } else { "" };
    let keys = format!("voice_folder = {:?}\n{default}", dir.path());
    let server = Server::speaking(&keys, "").await;
    (dir, server)
}

/// The pitch of a word in a session with `query`, once it has sent `embeddings`, if any.
async fn pitch_of(server: &Server, query: &str, embeddings: Option<&[f32]>) -> f32 {
    let mut client = server.connect(&format!("{QUERY}&{query}")).await;
    if let Some(embeddings) = embeddings {
        let shape = &[1, embeddings.len(), 1];
        client.tell(&Tell::Voice { embeddings, shape }).await;
    }
    client.text("pppppppppp").await;
    client.eos().await;
    let samples = audio(&client.speech().await.0);
    pitch(&samples[..10 * 1920])
}

#[tokio::test]
async fn the_voice_of_the_query_the_default_and_a_voice_of_the_client_are_heard() {
    let (_dir, server) = server(true).await;
    let near =
        |pitch: f32, expected: f32| assert!((pitch - expected).abs() < 5.0, "{pitch} is not {expected}");
    near(pitch_of(&server, "voice=low", None).await, 200.0);
    near(pitch_of(&server, "", None).await, 1000.0);
    near(
        pitch_of(&server, "voice=low", Some(&[500.0, 0.0, 0.0, 0.0])).await,
        500.0,
    );
    // A recycled row has the voice of its own session.
    near(pitch_of(&server, "", None).await, 1000.0);
}

#[tokio::test]
async fn a_voice_stays_through_a_flush_and_a_cancel() {
    let (_dir, server) = server(false).await;
    let mut client = server.connect("format=PcmMessagePack&extras=1&voice=low").await;
    for tell in [Tell::Flush, Tell::Cancel] {
        client.text("p").await;
        client.tell(&tell).await;
        client
            .until(|message| matches!(message, SpeechMsg::Flushed | SpeechMsg::Cancelled { .. }))
            .await;
    }
    client.text("pppppppppp").await;
    client.eos().await;
    let samples = audio(&client.speech().await.0);
    assert!((pitch(&samples[..19_200]) - 200.0).abs() < 5.0);
}

#[tokio::test]
async fn an_unknown_voice_is_refused_with_the_nearest_names() {
    let (_dir, server) = server(true).await;
    let refused = Client::open(server.address, "voice=hihg", "")
        .await
        .err()
        .unwrap();
    assert!(refused.starts_with("HTTP/1.1 400"), "{refused}");
    let (status, text) = server
        .request(
            "POST",
            crate::common::PATH,
            b"{\"text\": \"a\", \"voice\": \"hihg\"}",
        )
        .await;
    assert_eq!(status, 400);
    assert!(
        text.contains("no voice `hihg`; the nearest of 3 are `high`"),
        "{text}"
    );
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_voice_of_another_shape_ends_the_session_with_what_the_model_takes() {
    let (_dir, server) = server(true).await;
    let mut of_client = server.connect(QUERY).await;
    let (embeddings, shape) = (&[300.0; 10][..], &[1, 5, 2][..]);
    of_client.tell(&Tell::Voice { embeddings, shape }).await;
    let mut of_file = server.connect(&format!("{QUERY}&voice=odd")).await;
    for client in [&mut of_client, &mut of_file] {
        let (_, end) = client.speech().await;
        let Heard::Closed(1007, reason) = end else {
            panic!("{end:?}")
        };
        assert!(reason.contains("vectors of 4 numbers"), "{reason}");
    }
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_voice_after_the_first_text_is_refused() {
    let (_dir, server) = server(true).await;
    let mut client = server.connect(QUERY).await;
    client.text("m").await;
    let (embeddings, shape) = (&[300.0; 4][..], &[1, 4, 1][..]);
    client.tell(&Tell::Voice { embeddings, shape }).await;
    let (_, end) = client.speech().await;
    let expected = "a voice must come before the first text".to_owned();
    assert_eq!(end, Heard::Closed(1007, expected));
}

#[tokio::test]
async fn the_sampling_of_the_query_reaches_the_model() {
    let (_dir, server) = server(true).await;
    let mut client = server.connect(&format!("{QUERY}&cfg=3")).await;
    client.text("m n").await;
    client.eos().await;
    let (messages, _) = client.speech().await;
    // The scripted model takes it for the length of its gaps.
    assert_eq!(letters(&audio(&messages)), "m...n...");
}
