//! What goes wrong, over real sockets: every close code, full servers, rude clients, failing engines, stopping.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{Client, FRAME, Out, PATIENCE, Seen, Server, eventually, speech, words};
use fastwebsockets::{Frame, OpCode, Payload};
use moshi_server::app::Outcome;
use moshi_server::protocol::kyutai::server::ServerMsg;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const ONE: &str = "batch_size = 1";
const TWO: &str = "batch_size = 2";

#[tokio::test]
async fn bad_messages_close_with_1007_and_unknown_ones_with_1003_even_in_the_queue() {
    let server = Server::start(ONE, "").await;
    let unknown = rmp_serde::to_vec_named(&Out::Flush).unwrap();
    let cases: [(&[u8], u16); 3] = [(b"garbage", 1007), (b"", 1007), (&unknown, 1003)];
    for (bytes, code) in cases {
        let mut client = server.connect("").await;
        client.binary(bytes).await;
        assert_eq!(client.close_code().await, code);
    }
    let mut client = server.connect("format=json").await;
    client.text("not json").await;
    assert_eq!(client.close_code().await, 1007);
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn audio_that_cannot_be_decoded_closes_with_1007_and_says_why() {
    let server = Server::start(TWO, "").await;
    let mut client = server.connect("").await;
    client
        .send(&Out::OggOpus {
            data: b"this is no Ogg page, whatever it says",
        })
        .await;
    let (_, end) = client.rest().await;
    assert!(matches!(end, Seen::Closed(1007, reason) if !reason.is_empty()));
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn text_frames_of_a_classic_client_are_ignored() {
    let server = Server::start(ONE, "").await;
    let mut client = server.connect("").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    client.text("anything").await;
    client.send(&Out::Marker { id: 4 }).await;
    assert_eq!(client.hear().await, ServerMsg::Marker { id: 4 });
}

#[tokio::test]
async fn messages_too_big_close_with_1009_in_one_frame_or_in_many() {
    let server = Server::start(TWO, "[limits]\nmax_message_bytes = 8192").await;
    let mut client = server.connect("").await;
    client.binary(&[0; 9000]).await;
    assert_eq!(client.close_code().await, 1009);
    let mut client = server.connect("").await;
    let part = |fin, opcode| Frame::new(fin, opcode, None, Payload::Owned(vec![0; 1000]));
    let _ = client.socket.write_frame(part(false, OpCode::Binary)).await;
    // A series of fragments that never ends.
    for _ in 0..20 {
        let _ = client.socket.write_frame(part(false, OpCode::Continuation)).await;
    }
    assert_eq!(client.close_code().await, 1009);
    server.wait_for_used(0).await;
}

#[tokio::test]
async fn a_message_in_fragments_with_a_ping_between_is_one_message() {
    let server = Server::start(ONE, "").await;
    let mut client = server.connect("extras=1").await;
    let bytes = rmp_serde::to_vec_named(&Out::Audio { pcm: &speech("abc") }).unwrap();
    let pieces: Vec<&[u8]> = bytes.chunks(bytes.len() / 3 + 1).collect();
    for (i, piece) in pieces.iter().enumerate() {
        let opcode = if i == 0 {
            OpCode::Binary
        } else {
            OpCode::Continuation
        };
        let frame = Frame::new(
            i + 1 == pieces.len(),
            opcode,
            None,
            Payload::Owned(piece.to_vec()),
        );
        client.socket.write_frame(frame).await.unwrap();
        let ping = Frame::new(true, OpCode::Ping, None, Payload::Owned(b"hello".to_vec()));
        client.socket.write_frame(ping).await.unwrap();
    }
    let mut pongs = 0;
    while pongs < 3 {
        let frame = tokio::time::timeout(PATIENCE, client.socket.read_frame())
            .await
            .unwrap()
            .unwrap();
        if frame.opcode == OpCode::Pong {
            assert_eq!(&*frame.payload, b"hello");
            pongs += 1;
        }
    }
    client.send(&Out::EndOfStream).await;
    client.rest().await;
}

#[tokio::test]
async fn a_broken_frame_closes_with_1002() {
    let server = Server::start(ONE, "").await;
    let mut client = server.connect("").await;
    let stray = Frame::new(true, OpCode::Continuation, None, Payload::Owned(vec![1]));
    client.socket.write_frame(stray).await.unwrap();
    assert_eq!(client.close_code().await, 1002);
}

#[tokio::test]
async fn garbage_instead_of_http_and_instead_of_frames_frees_everything() {
    let server = Server::start(ONE, "").await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream
        .write_all(b"\x16\x03\x01\x02\x00 this is TLS, or nothing")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .unwrap();
    let client = server.connect("").await;
    let stream = client.raw(&[0xff; 64]).await;
    server.wait_for_used(0).await;
    drop(stream);
}

#[tokio::test]
async fn a_full_server_answers_503_before_the_upgrade_and_says_when_to_come_back() {
    let server = Server::start(ONE, "[limits]\nqueue_len = 0").await;
    let mut client = server.connect("").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    let head = Client::open(server.address, "", "").await.err().unwrap();
    assert!(
        head.starts_with("HTTP/1.1 503") && head.contains("retry-after:"),
        "{head}"
    );
    drop(client);
    server.wait_for_used(0).await;
    assert_eq!(server.connect("").await.hear().await, ServerMsg::Ready);
}

#[tokio::test]
async fn those_who_wait_are_told_their_place_and_served_in_order() {
    let server = Server::start(ONE, "").await;
    let mut first = server.connect("extras=1").await;
    assert_eq!(first.hear().await, ServerMsg::Ready);
    let mut second = server.connect("extras=1").await;
    assert_eq!(second.hear().await, ServerMsg::Queued { position: 1 });
    let mut third = server.connect("extras=1").await;
    assert_eq!(third.hear().await, ServerMsg::Queued { position: 2 });
    // Classic clients wait without a word.
    let mut classic = server.connect("").await;
    drop(second);
    assert_eq!(third.hear().await, ServerMsg::Queued { position: 1 });
    drop(first);
    assert_eq!(third.hear().await, ServerMsg::Ready);
    drop(third);
    assert_eq!(classic.hear().await, ServerMsg::Ready);
}

#[tokio::test]
async fn a_wait_that_is_too_long_ends_with_1013() {
    let server = Server::start(ONE, "[limits]\nqueue_wait_s = 0.05").await;
    let mut first = server.connect("").await;
    assert_eq!(first.hear().await, ServerMsg::Ready);
    assert_eq!(server.connect("").await.close_code().await, 1013);
}

#[tokio::test]
async fn one_user_gets_no_more_than_a_share() {
    let server = Server::start(TWO, "[limits]\nmax_sessions_per_user = 1").await;
    let _first = server.connect("").await;
    let head = Client::open(server.address, "", "").await.err().unwrap();
    assert!(head.starts_with("HTTP/1.1 429"), "{head}");
}

#[tokio::test]
async fn silence_ends_with_1008_and_so_does_the_longest_session() {
    let server = Server::start(TWO, "[limits]\nidle_s = 0.1").await;
    assert_eq!(server.connect("").await.close_code().await, 1008);
    let server = Server::start(TWO, "[limits]\nmax_session_s = 0.1").await;
    assert_eq!(server.connect("").await.close_code().await, 1008);
}

#[tokio::test]
async fn a_quiet_server_pings_and_a_peer_that_never_answers_is_gone() {
    let server = Server::start(ONE, "[limits]\nping_s = 0.05\npeer_timeout_s = 0.3").await;
    let mut client = server.connect("").await;
    client.socket.set_auto_pong(false);
    assert_eq!(client.hear().await, ServerMsg::Ready);
    assert_eq!(client.see().await, Seen::Ping);
    // Half open: the connection stands, and nobody is at the other end.
    let stream = client.socket.into_inner();
    server.wait_for_used(0).await;
    drop(stream);
}

#[tokio::test]
async fn a_client_that_only_listens_to_a_busy_stream_is_pinged_and_stays() {
    // Steps follow each other faster than pings, for longer than a silent peer is waited for.
    let server = Server::start(
        "batch_size = 1\nstep_s = 0.04",
        "[limits]\naudio_ahead_s = 10\nping_s = 0.1\npeer_timeout_s = 0.5",
    )
    .await;
    let mut client = server.connect("extras=1").await;
    client.silence(40).await;
    client.say("abc", FRAME).await;
    client.send(&Out::EndOfStream).await;
    let (messages, end) = client.rest().await;
    assert_eq!(words(&messages).len(), 1, "{end:?}");
}

#[tokio::test]
async fn a_client_that_does_not_read_is_closed_and_does_not_hold_up_others() {
    let server = Server::start(TWO, "[limits]\noutbox_messages = 16\nwrite_timeout_s = 0.2").await;
    let mut slow = Client::with_small_window(server.address, "format=json&input=pcm16").await;
    let mut other = server.connect("extras=1").await;
    let sending = tokio::spawn(async move {
        // A minute of steps, none of which is taken.
        for _ in 0..8_000 {
            slow.binary(&[0; 2 * FRAME]).await;
        }
        slow
    });
    other.say("abc", FRAME).await;
    other.send(&Out::EndOfStream).await;
    assert_eq!(words(&other.rest().await.0).len(), 1);
    server.wait_for_used(0).await;
    let mut slow = sending.await.unwrap();
    // What was written before is still there to be read; it is far from all.
    let mut steps = 0;
    while matches!(slow.see().await, Seen::Message(_) | Seen::Ping) {
        steps += 1;
    }
    assert!(steps < 8_000);
}

#[tokio::test]
async fn whoever_sends_much_faster_than_they_read_is_slowed_down_and_loses_nothing() {
    const FRAMES: usize = 15_000;
    let server = Server::start(ONE, "[limits]\noutbox_messages = 64").await;
    let client = Client::with_small_window(server.address, "format=json&input=pcm16&extras=1").await;
    let (mut reading, mut writing) = client.socket.into_inner().into_split();
    let sent = Arc::new(AtomicUsize::new(0));
    let sending = tokio::spawn({
        let sent = Arc::clone(&sent);
        async move {
            // Masked with zeros: RFC 6455, section 5.2.
            let mut frame = vec![0x82, 0x80 | 126];
            frame.extend(u16::try_from(2 * FRAME).unwrap().to_be_bytes());
            frame.resize(frame.len() + 4 + 2 * FRAME, 0);
            for _ in 0..FRAMES {
                writing.write_all(&frame).await.unwrap();
                sent.fetch_add(1, Ordering::Relaxed);
            }
            let end = br#"{"type":"EndOfStream"}"#;
            writing
                .write_all(&[0x81, 0x80 | end.len() as u8, 0, 0, 0, 0])
                .await
                .unwrap();
            writing.write_all(end).await.unwrap();
            writing
        }
    });
    let mut before = 0;
    loop {
        tokio::time::sleep(Duration::from_millis(200)).await;
        match sent.load(Ordering::Relaxed) {
            now if now == before => break,
            now => before = now,
        }
    }
    assert!(before < FRAMES, "nothing held the sender up");
    let mut said = String::new();
    let mut bytes = vec![0; 4096];
    while !said.contains("EndOfStream") {
        let got = reading.read(&mut bytes).await.unwrap();
        assert!(
            got > 0,
            "closed too soon: {:?}",
            &said[said.len().saturating_sub(200)..]
        );
        said.extend(bytes[..got].iter().map(|byte| char::from(*byte)));
    }
    assert_eq!(said.matches(r#""type":"Step""#).count(), FRAMES);
    drop(sending.await.unwrap());
}

#[tokio::test]
async fn an_abrupt_drop_frees_the_row() {
    let server = Server::start(ONE, "").await;
    for _ in 0..10 {
        let mut client = server.connect("").await;
        client.say("abc", 480).await;
        let stream = client.socket.into_inner();
        stream.set_zero_linger().unwrap();
        drop(stream);
        server.wait_for_used(0).await;
    }
}

#[tokio::test]
async fn a_failing_engine_ends_sessions_with_1011_and_the_process_with_a_failure() {
    let server = Server::start("batch_size = 2\nfail_after_steps = 3", "").await;
    let mut idle = server.connect("").await;
    let mut client = server.connect("").await;
    client.silence(10).await;
    assert_eq!(client.close_code().await, 1011);
    assert_eq!(idle.close_code().await, 1011);
    assert_eq!(server.outcome().await, Outcome::Failed);
}

#[tokio::test]
async fn a_hung_step_is_noticed() {
    let server = Server::start(
        "batch_size = 2\nhang_after_steps = 3",
        "[limits]\nstep_timeout_s = 0.3",
    )
    .await;
    let mut client = server.connect("").await;
    client.silence(10).await;
    assert_eq!(client.close_code().await, 1011);
    assert_eq!(server.outcome().await, Outcome::Failed);
}

#[tokio::test]
async fn stopping_under_load_tells_flushes_and_ends_with_1012() {
    let mut server = Server::start("batch_size = 2\n", "[limits]\ndrain_s = 1.5").await;
    let mut client = server.connect("extras=1").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    let mut waiting = server.connect("extras=1").await;
    assert_eq!(waiting.hear().await, ServerMsg::Ready);
    let mut queued = server.connect("").await;
    client.say("abc", FRAME).await;
    server.stop();
    eventually(async || server.request("GET", "/readyz", b"").await.0 == 503).await;
    assert_eq!(server.request("GET", "/livez", b"").await.0, 200);
    assert_eq!(queued.close_code().await, 1001);
    assert_eq!(
        Client::open(server.address, "", "")
            .await
            .err()
            .map(|head| head[9..12].to_owned()),
        Some("503".into())
    );
    let (messages, end) = client.rest().await;
    assert!(
        messages
            .iter()
            .any(|m| matches!(m, ServerMsg::Draining { deadline_s } if *deadline_s <= 1.5)),
        "{messages:?}"
    );
    assert_eq!(words(&messages), [("abc".to_owned(), 0.16)]);
    assert!(matches!(end, Seen::Closed(1012, _)), "{end:?}");
    assert_eq!(waiting.close_code().await, 1012);
    assert_eq!(server.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn an_idle_server_stops_at_once() {
    let mut server = Server::start(ONE, "").await;
    server.stop();
    assert_eq!(server.outcome().await, Outcome::Stopped);
}

#[tokio::test]
async fn requests_that_make_no_sense_are_told_why() {
    let server = Server::start(ONE, "").await;
    let head = Client::open(server.address, "format=xml", "")
        .await
        .err()
        .unwrap();
    assert!(head.starts_with("HTTP/1.1 400"), "{head}");
    let (status, text) = server.request("GET", crate::common::PATH, b"").await;
    assert!(status == 426 && text.contains("POST an audio file"), "{text}");
    let head = Client::open(server.address, "", "origin: https://evil.example\r\n")
        .await
        .err()
        .unwrap();
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    assert_eq!(server.used().await, 0);
}

#[tokio::test]
async fn credentials_are_asked_for_and_browsers_can_be_told_by_the_close_code() {
    let server = Server::start(ONE, "").await;
    assert_eq!(server.request("GET", "/api/auth-check", b"").await.0, 200);
    drop(server);
    let key = "a-key-that-nobody-guesses";
    let server = Server::with_key(ONE, key).await;
    assert!(
        Client::open(server.address, "", "")
            .await
            .err()
            .unwrap()
            .starts_with("HTTP/1.1 401")
    );
    assert_eq!(server.connect("auth_close=1").await.close_code().await, 4401);
    let mut client = server.connect(&format!("auth_id={key}")).await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    let header = format!("kyutai-api-key: {key}\r\n");
    drop(client);
    server.wait_for_used_with(&header, 0).await;
    assert_eq!(
        Client::open(server.address, "", &header)
            .await
            .unwrap()
            .hear()
            .await,
        ServerMsg::Ready
    );
}
