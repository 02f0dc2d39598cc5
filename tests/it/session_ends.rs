//! Sessions that end although nobody wants them to: credentials that run out, audio that is not taken, pages too long.

use crate::auth_support::{SECRET, token};
use crate::common::{Client, Out, Seen, Server};
use moshi_server::clock::unix_now;
use moshi_server::protocol::kyutai::server::ServerMsg;
use ogg::writing::{PacketWriteEndInfo, PacketWriter};
use serde_json::{Value, json};

/// Sessions end with their tokens, and these are judged to the second.
const TO_THE_SECOND: &str = "[auth]\non_expiry = \"token\"\n[auth.better_auth]\nleeway_s = 0";

/// Claims of `user` for `life_s` seconds from now.
fn claims(user: &str, life_s: i64) -> Value {
    let now = unix_now();
    json!({"id": "s1", "userId": user, "expiresAt": now + 3600, "iat": now, "exp": now + life_s})
}

/// The session cookie of a user, good for five minutes.
fn cookie() -> String {
    token(&json!({
        "session": {"id": "s1", "userId": "u1", "token": "t1", "expiresAt": "2100-01-01T00:00:00.000Z"},
        "user": {"id": "u1", "emailVerified": false},
        "updatedAt": unix_now() * 1000, "version": "1", "iat": unix_now(), "exp": unix_now() + 300,
    }))
}

async fn signed_in(server: &Server, life_s: i64) -> Client {
    let token = token(&claims("u1", life_s));
    server.connect(&format!("extras=1&auth_id={token}")).await
}

#[tokio::test]
async fn a_token_that_expires_in_mid_session_ends_it_with_4401() {
    let server = Server::with_secret(SECRET, TO_THE_SECOND).await;
    let mut client = signed_in(&server, 2).await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    assert_eq!(client.close_code().await, 4401);
}

#[tokio::test]
async fn a_newer_token_of_the_same_user_keeps_the_session_and_any_other_does_not() {
    let server = Server::with_secret(SECRET, TO_THE_SECOND).await;
    let mut client = signed_in(&server, 3).await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    for refused in [
        token(&claims("u2", 3600)),
        token(&claims("u1", -5)),
        "nonsense".to_owned(),
    ] {
        client.send(&Out::Renew { token: &refused }).await;
        assert_eq!(client.hear().await, ServerMsg::NotRenewed);
    }
    let newer = token(&claims("u1", 3600));
    client.send(&Out::Renew { token: &newer }).await;
    assert!(matches!(client.hear().await, ServerMsg::Renewed { valid_s } if valid_s > 3500.0));
    // Audio flows past the end of the first token.
    let past = unix_now() + 4;
    while unix_now() < past {
        client.silence(1).await;
        client.send(&Out::Marker { id: 7 }).await;
        assert_eq!(client.hear().await, ServerMsg::Marker { id: 7 });
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
}

#[tokio::test]
async fn sessions_of_one_user_share_the_minutes_and_end_together_when_they_are_used_up() {
    let rules = "[auth.users]\nmax_sessions = \"unlimited\"\nminutes_per_day = 1";
    let server = Server::with_secret_and_rows(SECRET, 40, rules).await;
    let mut clients = Vec::new();
    // A minute for forty sessions is a second and a half for each.
    for _ in 0..40 {
        clients.push(signed_in(&server, 300).await);
    }
    for client in &mut clients {
        let (_, end) = client.rest().await;
        assert!(
            matches!(&end, Seen::Closed(1008, why) if why.contains("minutes of the day")),
            "{end:?}"
        );
    }
    let token = token(&claims("u1", 300));
    let refused = Client::open(server.address, &format!("auth_id={token}"), "").await;
    assert!(refused.err().unwrap().starts_with("HTTP/1.1 429"));
}

#[tokio::test]
async fn a_classic_client_cannot_renew() {
    let server = Server::with_secret(SECRET, TO_THE_SECOND).await;
    let mut client = server
        .connect(&format!("auth_id={}", token(&claims("u1", 60))))
        .await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    client.send(&Out::Renew { token: "any" }).await;
    assert_eq!(client.close_code().await, 1003);
}

#[tokio::test]
async fn a_cookie_from_a_foreign_page_is_told_4403_where_it_can_be_read() {
    let server = Server::with_secret(SECRET, "").await;
    let cookie = cookie();
    let page = |origin: &str| format!("cookie: better-auth.session_data={cookie}\r\norigin: {origin}\r\n");
    let foreign = page("https://evil.example");
    let head = Client::open(server.address, "", &foreign).await.err().unwrap();
    assert!(head.starts_with("HTTP/1.1 403"), "{head}");
    let mut told = Client::open(server.address, "auth_close=1", &foreign)
        .await
        .unwrap();
    assert_eq!(told.close_code().await, 4403);
    let mut own = Client::open(server.address, "", &page("http://localhost"))
        .await
        .unwrap();
    assert_eq!(own.hear().await, ServerMsg::Ready);
}

#[tokio::test]
async fn audio_that_is_not_taken_in_time_ends_with_1008() {
    let server = Server::start(
        "hang_after_steps = 1",
        "[limits]\nstall_s = 0.3\nstep_timeout_s = 30",
    )
    .await;
    let mut client = server.connect("").await;
    client.silence(60).await;
    let (_, end) = client.rest().await;
    assert!(
        matches!(&end, Seen::Closed(1008, why) if why.contains("not taken")),
        "{end:?}"
    );
}

#[tokio::test]
async fn an_ogg_page_with_more_audio_than_is_taken_ends_with_1009() {
    let server = Server::start("", "[limits]\naudio_ahead_s = 1.2").await;
    let mut client = server.connect("").await;
    client.send(&Out::OggOpus { data: &page_of(40) }).await;
    let (_, end) = client.rest().await;
    assert!(
        matches!(&end, Seen::Closed(1009, why) if why.contains("shorter pages")),
        "{end:?}"
    );
    // Ten shorter pages in one message are no trouble.
    let mut client = server.connect("").await;
    let many: Vec<u8> = (0..10).flat_map(|_| page_of(10)).collect();
    client.send(&Out::OggOpus { data: &many }).await;
    client.send(&Out::Marker { id: 1 }).await;
    assert_eq!(client.hear().await, ServerMsg::Ready);
    assert_eq!(client.hear().await, ServerMsg::Marker { id: 1 });
}

/// An Ogg stream whose one page of audio holds `packets` of 60 ms each.
fn page_of(packets: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let mut writer = PacketWriter::new(&mut out);
    let head = b"OpusHead\x01\x01\0\0\xc0\x5d\0\0\0\0\0";
    let tags = b"OpusTags\0\0\0\0\0\0\0\0";
    let end = PacketWriteEndInfo::EndPage;
    writer.write_packet(&head[..], 1, end, 0).unwrap();
    writer.write_packet(&tags[..], 1, end, 0).unwrap();
    // Configuration 3 of RFC 6716: narrow-band speech, 60 ms, one frame of no bytes.
    for i in 1..=packets {
        let end = if i == packets {
            PacketWriteEndInfo::EndPage
        } else {
            PacketWriteEndInfo::NormalPacket
        };
        writer.write_packet(&[3u8 << 3][..], 1, end, i * 2880).unwrap();
    }
    out
}

#[tokio::test]
async fn an_own_page_may_use_its_cookie_on_a_plain_get() {
    let server = Server::with_secret(SECRET, "").await;
    let status = async |site: &str| {
        let headers = format!("cookie: better-auth.session_data={}\r\n{site}", cookie());
        server
            .request_with(&headers, "GET", "/api/auth-check", b"")
            .await
            .0
    };
    assert_eq!(status("sec-fetch-site: same-origin\r\n").await, 200);
    for foreign in [
        "",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
    ] {
        assert_eq!(status(foreign).await, 403, "{foreign}");
    }
}
