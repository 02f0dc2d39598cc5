//! Waiting for a row, over real sockets: who does, who leaves, who is not let in.

use crate::auth_support::{SECRET, token};
use crate::common::{FRAME, Out, Seen, Server, eventually};
use moshi_server::clock::unix_now;
use moshi_server::protocol::kyutai::server::ServerMsg;
use serde_json::json;

const ONE: &str = "batch_size = 1";

#[tokio::test]
async fn where_classic_clients_expect_it_they_do_not_wait() {
    let server = Server::start(ONE, "classic_full = true\n---").await;
    let mut first = server.connect("").await;
    assert_eq!(first.hear().await, ServerMsg::Ready);
    let (messages, end) = server.connect("").await.rest().await;
    let message = "no free channels".to_owned();
    assert_eq!(messages, [ServerMsg::Error { message }]);
    assert!(matches!(end, Seen::Closed(1013, _)), "{end:?}");
    // Others do.
    let mut patient = server.connect("extras=1").await;
    assert_eq!(patient.hear().await, ServerMsg::Queued { position: 1 });
    drop(first);
    assert_eq!(patient.hear().await, ServerMsg::Ready);
}

#[tokio::test]
async fn who_hangs_up_behind_unread_audio_leaves_the_queue() {
    let server = Server::start(ONE, "[limits]\ninbox_messages = 2").await;
    let mut first = server.connect("").await;
    assert_eq!(first.hear().await, ServerMsg::Ready);
    let mut second = server.connect("extras=1").await;
    assert_eq!(second.hear().await, ServerMsg::Queued { position: 1 });
    // More than is taken of a client that waits: nobody reads its end.
    second.silence(40).await;
    let mut third = server.connect("extras=1").await;
    assert_eq!(third.hear().await, ServerMsg::Queued { position: 2 });
    drop(second);
    assert_eq!(third.hear().await, ServerMsg::Queued { position: 1 });
}

#[tokio::test]
async fn a_token_that_runs_out_in_the_queue_ends_the_wait_with_4401() {
    let exact = "[auth]\non_expiry = \"token\"\n[auth.better_auth]\nleeway_s = 0";
    let server = Server::with_secret(SECRET, exact).await;
    let signed_in = async |life_s: i64| {
        let now = unix_now();
        let claims =
            json!({"id": "s1", "userId": "u1", "expiresAt": now + 3600, "iat": now, "exp": now + life_s});
        server
            .connect(&format!("extras=1&auth_id={}", token(&claims)))
            .await
    };
    let (mut one, mut two) = (signed_in(60).await, signed_in(60).await);
    assert_eq!(one.hear().await, ServerMsg::Ready);
    assert_eq!(two.hear().await, ServerMsg::Ready);
    assert_eq!(signed_in(2).await.close_code().await, 4401);
}

#[tokio::test]
async fn short_numbers_do_not_smuggle_in_more_audio_than_a_message_may_hold() {
    let server = Server::start(ONE, "[limits]\nmax_message_bytes = 8192").await;
    let mut client = server.connect("").await;
    // A byte each on the wire, and four as samples.
    let audio = rmp_serde::to_vec_named(&json!({"type": "Audio", "pcm": vec![0; 3000]})).unwrap();
    assert!(audio.len() < 4096);
    client.binary(&audio).await;
    let (_, end) = client.rest().await;
    assert!(
        matches!(&end, Seen::Closed(1009, why) if why.contains("8192 bytes")),
        "{end:?}"
    );
}

#[tokio::test]
async fn a_marker_sent_while_the_engine_adds_silence_is_answered_too() {
    // Ten steps of 50 ms answer the first; the patience of the second ends before they do.
    let server = Server::start("batch_size = 1\nstep_s = 0.05\nasr_delay_in_tokens = 10", "").await;
    let mut client = server.connect("").await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    client.silence(1).await;
    client.send(&Out::Marker { id: 1 }).await;
    tokio::time::sleep(std::time::Duration::from_millis(350)).await;
    client
        .send(&Out::Audio {
            pcm: &[0.0; FRAME / 2],
        })
        .await;
    client.send(&Out::Marker { id: 2 }).await;
    assert_eq!(client.hear().await, ServerMsg::Marker { id: 1 });
    assert_eq!(client.hear().await, ServerMsg::Marker { id: 2 });
}

#[tokio::test]
async fn sessions_are_counted_by_stage_and_end_and_those_with_a_row_by_their_length() {
    let server = Server::start(ONE, "").await;
    // The value of the only line of the series `name` that has `label`.
    let value = |name: &str, label: &str| {
        let page = server.meters.render();
        let mut found = page
            .lines()
            .filter(|line| line.starts_with(name) && line.contains(label));
        let line = found.next().unwrap_or_else(|| panic!("no {name} {label}"));
        assert_eq!(found.next(), None, "{name} {label}");
        line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()
    };
    let open = |stage: &str| value("moshi_session_open_sessions", &format!("stage=\"{stage}\""));
    let ended = |reason: &str| value("moshi_session_ended_total", &format!("reason=\"{reason}\""));
    let mut first = server.connect("extras=1").await;
    assert_eq!(first.hear().await, ServerMsg::Ready);
    let mut second = server.connect("extras=1").await;
    assert_eq!(second.hear().await, ServerMsg::Queued { position: 1 });
    assert_eq!((open("active"), open("queued")), (1.0, 1.0));
    drop(second);
    eventually(async || open("queued") == 0.0).await;
    assert_eq!(ended("peer_gone"), 1.0);
    let served = || {
        (
            value("moshi_session_started_total", ""),
            value("moshi_session_duration_seconds_count", ""),
        )
    };
    assert_eq!(served(), (1.0, 0.0), "who only waited was not served");
    first.send(&Out::EndOfStream).await;
    assert_eq!(first.close_code().await, 1000);
    eventually(async || open("draining") + open("active") == 0.0).await;
    assert_eq!((ended("done"), served()), (1.0, (1.0, 1.0)));
}
