//! Files by `POST`, over real sockets: every kind, slow and broken uploads, full servers.

use std::path::Path;
use std::time::Duration;

use crate::common::{FRAME, PATH, PATIENCE, Server, eventually, speech};
use moshi_server::protocol::kyutai::server::ServerMsg;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ONE: &str = "batch_size = 1";

fn fixture(name: &str) -> Vec<u8> {
    std::fs::read(
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/audio")
            .join(name),
    )
    .unwrap()
}

fn wav(samples: &[f32]) -> Vec<u8> {
    let data: Vec<u8> = samples
        .iter()
        .flat_map(|s| ((s * 32768.0) as i16).to_le_bytes())
        .collect();
    let mut out = b"RIFF".to_vec();
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    out.extend(24_000u32.to_le_bytes());
    out.extend(48_000u32.to_le_bytes());
    out.extend(b"\x02\0\x10\0data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

/// A request whose body is still to be sent.
async fn begin(server: &Server, header: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{header}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("no answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_posted_file_comes_back_as_words_in_the_form_asked_for() {
    let server = Server::start(ONE, "[limits]\nmax_file_bytes = 200000").await;
    let wav = wav(&speech("abc"));
    let (status, answer) = server.request("POST", PATH, &wav).await;
    assert_eq!(status, 200, "{answer}");
    assert!(
        answer.contains(r#"[{"type":"Word","text":"abc","start_time":0.16},{"type":"EndWord""#),
        "{answer}"
    );
    let (_, answer) = server.request("POST", &format!("{PATH}?format=srt"), &wav).await;
    assert!(answer.contains("00:00:00,160 --> "), "{answer}");
    assert_eq!(server.request("POST", PATH, b"no audio at all").await.0, 422);
    assert_eq!(server.request("POST", PATH, &vec![0; 300_000]).await.0, 413);
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn every_kind_of_file_is_taken_whole_or_in_chunks() {
    let server = Server::start(ONE, "").await;
    for kind in ["wav", "flac", "mp3", "ogg", "opus", "m4a", "aac", "webm"] {
        let file = fixture(&format!("tone.{kind}"));
        let (status, said) = server.request("POST", PATH, &file).await;
        assert_eq!(status, 200, "{kind}: {said}");
        let mut stream = begin(&server, "transfer-encoding: chunked\r\n").await;
        for piece in file.chunks(999) {
            let size = format!("{:x}\r\n", piece.len());
            stream.write_all(size.as_bytes()).await.unwrap();
            stream.write_all(piece).await.unwrap();
            stream.write_all(b"\r\n").await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let said = answer(stream).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{kind} in chunks: {said}");
    }
}

#[tokio::test]
async fn what_comes_slowly_is_waited_for_and_keeps_no_row_before_its_audio() {
    let server = Server::start(ONE, "[limits]\nping_s = 0.2\npeer_timeout_s = 0.5").await;
    // An mp4 file may say only at its end what is in it.
    let file = fixture("tone.m4a");
    let mut slow = begin(&server, &format!("content-length: {}\r\n", file.len())).await;
    for piece in file.chunks(file.len() / 8 + 1) {
        slow.write_all(piece).await.unwrap();
        tokio::time::sleep(Duration::from_millis(150)).await;
        assert_eq!(server.used().await, 0);
    }
    let said = answer(slow).await;
    assert!(said.starts_with("HTTP/1.1 200"), "{said}");
    // What does not come at all is not.
    let stuck = begin(&server, "content-length: 5000\r\n").await;
    let said = answer(stuck).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_frees_everything() {
    let server = Server::start(ONE, "[limits]\nmax_files = 1").await;
    let wav = wav(&vec![0.1; 100 * FRAME]);
    let mut stream = begin(&server, &format!("content-length: {}\r\n", wav.len())).await;
    stream.write_all(&wav[..wav.len() / 2]).await.unwrap();
    server.wait_for_used(1).await;
    let (status, said) = server.request("POST", PATH, &wav).await;
    assert_eq!(status, 503, "only one file at a time: {said}");
    assert!(said.contains("retry-after:"), "{said}");
    drop(stream);
    server.wait_for_used(0).await;
    eventually(async || server.request("POST", PATH, &wav).await.0 == 200).await;
}

#[tokio::test]
async fn a_file_waits_for_a_row_and_is_told_when_to_come_back() {
    let server = Server::start(ONE, "[limits]\nqueue_wait_s = 0.3\nmax_file_s = 1").await;
    let mut live = server.connect("").await;
    assert_eq!(live.hear().await, ServerMsg::Ready);
    let (status, said) = server.request("POST", PATH, &wav(&speech("abc"))).await;
    assert_eq!(status, 503, "{said}");
    assert!(said.contains("retry-after:"), "{said}");
    drop(live);
    server.wait_for_used(0).await;
    let (status, said) = server.request("POST", PATH, &wav(&[0.0; 25_000])).await;
    assert_eq!(status, 413, "{said}");
    assert!(said.contains("1 s of audio"), "{said}");
}

#[tokio::test]
async fn the_end_of_a_file_is_waited_for_however_slow_the_model_is() {
    let server = Server::start(
        "batch_size = 1\nstep_s = 0.05\nasr_delay_in_tokens = 12",
        "[limits]\nstall_s = 0.2",
    )
    .await;
    let (status, said) = server.request("POST", PATH, &wav(&speech("abc"))).await;
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("\"abc\""), "{said}");
}
