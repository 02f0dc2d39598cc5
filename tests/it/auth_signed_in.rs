//! People whom a real Better Auth server signed in, at the running program, over real sockets.

use std::time::{Duration, Instant};

use crate::auth_support::SECRET;
use crate::auth_support::better_auth::{BetterAuth, Browser};
use crate::auth_support::worker::Worker;
use crate::common::{Client, Out, PATIENCE};
use moshi_server::protocol::kyutai::server::ServerMsg;
use serde_json::{Value, json};

const NEW_SECRET: &str = "another-secret-of-the-tests-for-the-rotation";

fn started(more: Value) -> Option<BetterAuth> {
    let mut settings = json!({"secret": SECRET, "strategy": "jwt"});
    settings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    BetterAuth::start(&settings)
}

/// A configuration for pages of `origin`; `rules` go to `[auth.better_auth]`.
fn tables(origin: &str, auth: &str, rules: &str) -> String {
    format!(
        "[server]\nport = 0\nadmin_addr = \"\"\nallowed_origins = [\"{origin}\"]\n[limits]\nmax_sessions_per_user = 100\n\
         [auth]\nfailures_per_minute = 0\n{auth}\n[auth.better_auth]\n{rules}\n"
    )
}

fn worker_for(server: &BetterAuth) -> Worker {
    Worker::start(&tables(&server.base_url, "", "leeway_s = 0"), SECRET)
}

/// The status of a handshake of a page that `browser` shows.
fn cookie_status(worker: &Worker, browser: &Browser<'_>, origin: &str) -> u16 {
    let headers = [("cookie", &*browser.header()), ("origin", origin)];
    worker.handshake("", &headers).0
}

fn token_status(worker: &Worker, token: &str) -> u16 {
    worker.handshake(&format!("?auth_id={token}"), &[]).0
}

fn text(answer: &Value, name: &str) -> String {
    answer[name].as_str().unwrap().to_owned()
}

fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "it never happened: {what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

async fn live(worker: &Worker, query: &str, headers: &str) -> Client {
    let opened = Client::open(worker.address.parse().unwrap(), query, headers).await;
    opened.unwrap_or_else(|head| panic!("refused: {head}"))
}

async fn hears(client: &mut Client, word: &str) {
    client.say(word, crate::common::FRAME).await;
    client.silence(20).await;
    loop {
        match client.hear().await {
            ServerMsg::Word { text, .. } => return assert_eq!(text, word),
            ServerMsg::Error { message } => panic!("{message}"),
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn signing_up_and_in_opens_a_live_transcript_and_signing_out_ends_the_way_in() {
    let Some(server) = started(json!({})) else { return };
    let worker = worker_for(&server);
    let origin = &server.base_url;
    let (first, _) = Browser::signed_up(&server, "live@example.test", "");
    let mut second = Browser::new(&server);
    let form = json!({"email": "live@example.test", "password": "a long password"});
    assert_eq!(cookie_status(&worker, &second, origin), 401, "before signing in");
    second.post("sign-in/email", &form);
    for browser in [&first, &second] {
        let headers = format!("cookie: {}\r\norigin: {origin}\r\n", browser.header());
        let mut client = live(&worker, "", &headers).await;
        hears(&mut client, "hi").await;
    }
    assert_eq!(cookie_status(&worker, &second, "https://evil.test"), 403);

    let stolen = second.cookies.clone();
    second.post("sign-out", &json!({}));
    assert_eq!(cookie_status(&worker, &second, origin), 401);
    second.cookies = stolen;
    assert_eq!(
        cookie_status(&worker, &second, origin),
        101,
        "a copy of the cookie lives to its end"
    );
    let log = worker.finish();
    assert!(!log.contains("live@example.test"), "{log}");
    for secret in first.cookies.values().chain(second.cookies.values()) {
        assert!(!log.contains(secret), "a cookie is in the log:\n{log}");
    }
}

#[test]
fn a_cookie_expires_and_is_good_again_after_a_refresh() {
    let Some(server) = started(json!({"cookieSeconds": 4})) else {
        return;
    };
    let worker = worker_for(&server);
    let (mut browser, _) = Browser::signed_up(&server, "expiry@example.test", "");
    let stolen = browser.cookies.clone();
    let mut copy = Browser::new(&server);
    copy.cookies = stolen;
    eventually("the cookie expires", || {
        cookie_status(&worker, &copy, &server.base_url) == 401
    });
    eventually("a refreshed cookie is good", || {
        browser.get("get-session?disableCookieCache=true");
        cookie_status(&worker, &browser, &server.base_url) == 101
    });
    assert_eq!(
        cookie_status(&worker, &copy, &server.base_url),
        401,
        "the old one stays dead"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_session_ends_with_the_auth_servers_session() {
    let Some(server) = started(json!({"sessionLife": 6})) else {
        return;
    };
    let worker = worker_for(&server);
    let (browser, _) = Browser::signed_up(&server, "ends@example.test", "");
    let headers = format!("cookie: {}\r\norigin: {}\r\n", browser.header(), server.base_url);
    let mut client = live(&worker, "", &headers).await;
    assert_eq!(client.close_code().await, 4401);
    assert_eq!(
        cookie_status(&worker, &browser, &server.base_url),
        401,
        "though the cookie itself lives for five minutes"
    );
}

#[test]
fn a_large_profile_comes_in_chunks_and_all_of_them_count() {
    let Some(server) = started(json!({})) else { return };
    let worker = worker_for(&server);
    let (mut browser, _) = Browser::signed_up(&server, "chunks@example.test", &"long profile ".repeat(600));
    assert!(browser.cookies.contains_key("better-auth.session_data.1"));
    assert_eq!(cookie_status(&worker, &browser, &server.base_url), 101);
    browser.cookies.remove("better-auth.session_data.1");
    assert_eq!(cookie_status(&worker, &browser, &server.base_url), 401);
}

#[test]
fn an_https_site_has_secure_cookies_and_no_others_count() {
    let Some(server) = started(json!({"baseURL": "https://app.example"})) else {
        return;
    };
    let rules = "require_secure_cookie = true\nbind_session_token = true";
    let worker = Worker::start(&tables(&server.base_url, "", rules), SECRET);
    let (mut browser, _) = Browser::signed_up(&server, "secure@example.test", "");
    assert_eq!(cookie_status(&worker, &browser, &server.base_url), 101);
    assert_eq!(
        cookie_status(&worker, &browser, "http://app.example"),
        403,
        "the scheme counts"
    );
    let plain = browser.cookies.iter().map(|(name, value)| {
        let name = name.strip_prefix("__Secure-").expect("every cookie is secure");
        (name.to_owned(), value.clone())
    });
    browser.cookies = plain.collect();
    assert_eq!(
        cookie_status(&worker, &browser, &server.base_url),
        401,
        "a plain-http sibling could have planted it"
    );
}

#[test]
fn a_rotation_of_the_secret_signs_nobody_out_here() {
    let Some(before) = started(json!({})) else { return };
    let rotated = json!({"secrets": [{"version": 2, "value": NEW_SECRET}, {"version": 1, "value": SECRET}]});
    let Some(after) = started(rotated) else { return };
    let (old, _) = Browser::signed_up(&before, "old@example.test", "");
    let (new, _) = Browser::signed_up(&after, "new@example.test", "");
    let page = "https://app.example";
    let both = format!("2:{NEW_SECRET},1:{SECRET}");
    let worker = Worker::with_env(&tables(page, "", ""), &[("BETTER_AUTH_SECRETS", &both)]);
    assert_eq!(cookie_status(&worker, &old, page), 101);
    assert_eq!(cookie_status(&worker, &new, page), 101);
    let worker = Worker::with_env(&tables(page, "", ""), &[("BETTER_AUTH_SECRET", NEW_SECRET)]);
    assert_eq!(cookie_status(&worker, &old, page), 401, "the rotation is over");
    assert_eq!(cookie_status(&worker, &new, page), 101);
}

#[test]
fn the_jwt_plugin_needs_no_secret_here() {
    for alg in ["EdDSA", "ES256", "RS256"] {
        let plugin = json!({"jwt": {"sessionCookieCache": true, "jwks": {"keyPairConfig": {"alg": alg}}}});
        let Some(server) = started(plugin) else { return };
        let rules = format!(
            "jwks_url = \"{}/api/auth/jwks\"\nissuer = \"{}\"",
            server.url, server.base_url
        );
        let worker = Worker::with_env(&tables(&server.base_url, "", &rules), &[]);
        let (mut browser, _) = Browser::signed_up(&server, "jwks@example.test", "");
        let token = text(&browser.get("token"), "token");
        assert_eq!(token_status(&worker, &token), 101, "{alg}");
        let offer = format!("moshi, bearer.{token}");
        assert_eq!(
            worker.handshake("", &[("sec-websocket-protocol", &offer)]).0,
            101,
            "{alg}"
        );
        assert_eq!(
            cookie_status(&worker, &browser, &server.base_url),
            101,
            "{alg}: the cookie"
        );
        let (message, _) = token.rsplit_once('.').unwrap();
        assert_eq!(
            token_status(&worker, &format!("{message}.{}", "A".repeat(86))),
            401,
            "{alg}"
        );
        let log = worker.finish();
        assert!(
            !log.contains(&token) && !log.contains("jwks@example.test"),
            "{log}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_minted_token_opens_a_session_and_a_newer_one_renews_it() {
    let Some(server) = started(json!({})) else { return };
    let rules = "audience = \"moshi-server\"";
    let worker = Worker::start(&tables(&server.base_url, "on_expiry = \"token\"", rules), SECRET);
    let (mut browser, _) = Browser::signed_up(&server, "minted@example.test", "");
    let minted = text(&browser.get("moshi-token"), "token");
    let headers = format!("sec-websocket-protocol: moshi, bearer.{minted}\r\n");
    let mut client = live(&worker, "extras=1", &headers).await;
    hears(&mut client, "hi").await;

    let newer = text(&browser.get("moshi-token"), "token");
    client.send(&Out::Renew { token: &newer }).await;
    let renewed = loop {
        match client.hear().await {
            ServerMsg::Renewed { valid_s } => break valid_s,
            ServerMsg::NotRenewed => panic!("a good token was refused"),
            _ => {}
        }
    };
    assert!((1.0..=60.0).contains(&renewed), "{renewed}");
    let (mut stranger, _) = Browser::signed_up(&server, "stranger@example.test", "");
    let foreign = text(&stranger.get("moshi-token"), "token");
    client.send(&Out::Renew { token: &foreign }).await;
    while client.hear().await != ServerMsg::NotRenewed {}
    hears(&mut client, "ok").await;

    let log = worker.finish();
    for secret in [&minted, &newer, &foreign] {
        assert!(!log.contains(secret.as_str()), "a token is in the log:\n{log}");
    }
}
