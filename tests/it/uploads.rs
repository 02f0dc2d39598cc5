//! Uploads as people send them, and as people give them up: forms, wrong names, cut off, cancelled, slow, too many.

use std::time::Duration;

use crate::common::forms::{FORM, form, wav};
use crate::common::{PATH, PATIENCE, Server, eventually, speech};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

const ONE: &str = "batch_size = 1";

/// A request whose body is still to be sent.
async fn begin(server: &Server, headers: &str) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!("POST {PATH} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{headers}\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    stream
}

async fn answer(mut stream: TcpStream) -> String {
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("no answer");
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn a_form_is_read_for_the_file_in_it() {
    let server = Server::start(ONE, "").await;
    let spoken = wav(&speech("abc"));
    let file: (&str, &[u8]) = ("name=\"file\"; filename=\"talk.wav\"", &spoken);
    let text: (&str, &[u8]) = ("name=\"model\"", b"small");
    let other: (&str, &[u8]) = ("name=\"audio\"; filename=\"talk\"", &spoken);
    let nameless: (&str, &[u8]) = ("name=\"file\"", &spoken);
    let mut cases = vec![
        vec![file],
        vec![text, file, text],
        vec![text, other],
        vec![nameless, text],
    ];
    // Two files: the first is heard.
    cases.push(vec![file, ("name=\"file\"; filename=\"b\"", b"no audio")]);
    for parts in cases {
        let (status, said) = server.request_with(FORM, "POST", PATH, &form(&parts)).await;
        assert_eq!(status, 200, "{said}");
        assert!(said.contains("\"abc\""), "{said}");
    }
    for kind in ["tone.m4a", "tone.webm", "tone.opus"] {
        let bytes = std::fs::read(format!("{}/tests/audio/{kind}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        let body = form(&[("name=\"file\"; filename=\"x\"", &bytes)]);
        // In chunks, as browsers and curl send what they read as they go.
        let mut stream = begin(&server, &format!("{FORM}transfer-encoding: chunked\r\n")).await;
        for piece in body.chunks(777) {
            let chunk = [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat();
            stream.write_all(&chunk).await.unwrap();
        }
        stream.write_all(b"0\r\n\r\n").await.unwrap();
        let said = answer(stream).await;
        assert!(said.starts_with("HTTP/1.1 200"), "{kind}: {said}");
    }
}

#[tokio::test]
async fn a_form_without_a_file_says_how_to_send_one() {
    let server = Server::start(ONE, "").await;
    let body = form(&[("name=\"text\"", b"hello")]);
    let (status, said) = server.request_with(FORM, "POST", PATH, &body).await;
    assert_eq!(status, 400, "{said}");
    assert!(
        said.contains("the form has no file") && said.contains("curl -F file=@"),
        "{said}"
    );
    let (status, said) = server
        .request_with(FORM, "POST", PATH, &wav(&speech("abc")))
        .await;
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("send the file alone as the body"), "{said}");
    let no_boundary = "content-type: multipart/form-data\r\n";
    let (status, said) = server.request_with(no_boundary, "POST", PATH, &body).await;
    assert_eq!(status, 400, "{said}");
    assert!(said.contains("names no boundary"), "{said}");
    // A head that does not end is not kept.
    let endless = [&b"--edge\r\nX: "[..], &vec![b'x'; 3 << 20]].concat();
    assert_eq!(server.request_with(FORM, "POST", PATH, &endless).await.0, 400);
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_wrong_name_for_what_the_file_is_does_not_matter() {
    let server = Server::start(ONE, "").await;
    let wav = wav(&speech("abc"));
    for kind in [
        "image/png",
        "application/x-www-form-urlencoded",
        "audio/mpeg",
        "nonsense",
    ] {
        let header = format!("content-type: {kind}\r\n");
        let (status, said) = server.request_with(&header, "POST", PATH, &wav).await;
        assert_eq!(status, 200, "{kind}: {said}");
        assert!(said.contains("\"abc\""), "{kind}: {said}");
    }
}

#[tokio::test]
async fn an_empty_body_is_called_empty() {
    let server = Server::start(ONE, "").await;
    let (status, said) = server.request("POST", PATH, b"").await;
    assert_eq!(status, 422, "{said}");
    assert!(said.contains("the file is empty"), "{said}");
}

#[tokio::test]
async fn an_upload_that_is_cut_off_is_no_file() {
    let server = Server::start(ONE, "").await;
    let wav = wav(&speech("abc"));
    let headers = [
        format!("content-length: {}\r\n", wav.len() + 5000),
        "transfer-encoding: chunked\r\n".to_owned(),
        format!("{FORM}content-length: {}\r\n", wav.len() + 5000),
    ];
    for headers in headers {
        let mut stream = begin(&server, &headers).await;
        if headers.starts_with("transfer") {
            stream.write_all(b"fffff\r\n").await.unwrap();
        }
        if headers.starts_with(FORM) {
            stream
                .write_all(&form(&[("name=\"file\"", b"")])[..60])
                .await
                .unwrap();
        }
        stream.write_all(&wav).await.unwrap();
        stream.shutdown().await.unwrap();
        let said = answer(stream).await;
        assert!(said.starts_with("HTTP/1.1 400"), "{headers}: {said}");
        assert!(said.contains("the upload was cut off"), "{headers}: {said}");
    }
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn four_that_are_cancelled_keep_nobody_out() {
    // A model that would take hours for them.
    let server = Server::start("batch_size = 4\nstep_s = 0.05", "").await;
    let long = wav(&vec![0.1; 24_000 * 600]);
    let mut given_up = Vec::new();
    for _ in 0..4 {
        let mut stream = begin(&server, &format!("content-length: {}\r\n", long.len())).await;
        timeout(PATIENCE, stream.write_all(&long))
            .await
            .expect("the upload is taken whole")
            .unwrap();
        given_up.push(stream);
    }
    server.wait_for_used(4).await;
    let (status, said) = server.request("POST", PATH, &wav(&speech("abc"))).await;
    assert_eq!(status, 503, "{said}");
    drop(given_up);
    server.wait_for_used(0).await;
    eventually(async || server.request("POST", PATH, &wav(&speech("abc"))).await.0 == 200).await;
}

#[tokio::test]
async fn an_upload_that_drips_ends() {
    let server = Server::start(ONE, "[limits]\nping_s = 0.1\npeer_timeout_s = 0.5\nmax_files = 1").await;
    let mut drip = begin(&server, "content-length: 5000000\r\n").await;
    drip.write_all(b"\0\0\0\x18ftypM4A ").await.unwrap();
    let dripping = async {
        while drip.write_all(b"\0").await.is_ok() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, dripping).await.expect("it is ended");
    eventually(async || server.request("POST", PATH, &wav(&speech("abc"))).await.0 == 200).await;
}

#[tokio::test]
async fn a_slow_upload_is_told_how_fast_to_send() {
    let server = Server::start(ONE, "[limits]\nping_s = 0.1\npeer_timeout_s = 0.3").await;
    let stuck = begin(&server, "content-length: 5000\r\n").await;
    let said = answer(stuck).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(said.contains("8000 bytes per second"), "{said}");
}

#[tokio::test]
async fn a_file_that_shows_no_audio_in_time_gives_its_slot_back() {
    let server = Server::start(ONE, "[limits]\nfile_open_s = 0.5\nmax_files = 1").await;
    let mut stream = begin(&server, "content-length: 5000000\r\n").await;
    let head = [&b"\0\0\0\x18ftypM4A "[..], &[0; 1_000_000]].concat();
    stream.write_all(&head).await.unwrap();
    let said = answer(stream).await;
    assert!(said.starts_with("HTTP/1.1 408"), "{said}");
    assert!(
        said.contains("no audio was found in the file within 0.5 s"),
        "{said}"
    );
    eventually(async || server.request("POST", PATH, &wav(&speech("abc"))).await.0 == 200).await;
}

#[tokio::test]
async fn one_user_has_half_of_the_slots_and_no_more_sessions_than_allowed() {
    let ids = ["one-long-enough-key-1", "two-long-enough-key-2"];
    let [one, two] = ids.map(|id| format!("kyutai-api-key: {id}\r\n"));
    let upload = async |server: &Server, key: &str| {
        let mut stream = begin(server, &format!("{key}content-length: 5000000\r\n")).await;
        stream.write_all(b"\0\0\0\x18ftypM4A ").await.unwrap();
        stream
    };
    let post =
        async |server: &Server, key: &str| server.request_with(key, "POST", PATH, &wav(&speech("abc"))).await;
    let server = Server::with_ids(&ids, "batch_size = 2", "[limits]\nmax_files = 2").await;
    let first = upload(&server, &one).await;
    eventually(async || post(&server, &one).await.0 == 429).await;
    let (status, said) = post(&server, &one).await;
    assert_eq!(status, 429, "{said}");
    assert!(
        said.contains("1 of your files are being transcribed") && said.contains("retry-after:"),
        "{said}"
    );
    assert_eq!(post(&server, &two).await.0, 200);
    drop(first);
    eventually(async || post(&server, &one).await.0 == 200).await;

    // A file that is still being opened is a session too.
    let limits = "[limits]\nmax_sessions_per_user = 1\nmax_files = 4";
    let server = Server::with_ids(&ids, "batch_size = 2", limits).await;
    let first = upload(&server, &one).await;
    eventually(async || post(&server, &one).await.0 == 429).await;
    assert_eq!(post(&server, &two).await.0, 200);
    drop(first);
    eventually(async || post(&server, &one).await.0 == 200).await;
}
