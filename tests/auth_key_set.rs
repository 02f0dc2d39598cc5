//! A key set from a URL: one fetch for all, and the former set while the auth server fails.

mod auth_support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use auth_support::request;
use moshi_server::auth::{AuthConfig, BetterAuthConfig, Guard, Method, Reason};

fn peer() -> SocketAddr {
    ([203, 0, 113, 7], 1).into()
}

/// A key set server that counts its requests; from `fail_from` on it answers 500.
fn key_server(set: String, fail_from: usize) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/auth/jwks", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let nth = seen.fetch_add(1, Ordering::SeqCst);
            let status = if nth >= fail_from { "500 Broken" } else { "200 OK" };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{set}",
                set.len()
            );
        }
    });
    (url, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_is_fetched_once_for_all_and_kept_while_the_server_fails() {
    let file: serde_json::Value = serde_json::from_str(include_str!("better-auth/vectors.json")).unwrap();
    let vector = file["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|v| v["id"] == "ba-asymmetric-cookie-cache-no-jwks")
        .unwrap()
        .clone();
    let (jwt, now) = (
        vector["token"].as_str().unwrap().to_owned(),
        vector["now"].as_i64().unwrap(),
    );
    let (url, count) = key_server(file["jwks"]["asymmetric"].to_string(), 1);
    let claims = jwt.split('.').nth(1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(
        &base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, claims).unwrap(),
    )
    .unwrap();
    let better_auth = BetterAuthConfig {
        jwks_url: Some(url),
        issuer: claims["iss"].as_str().map(str::to_owned),
        ..BetterAuthConfig::default()
    };
    let guard = Arc::new(
        Guard::from_config(
            &AuthConfig {
                better_auth,
                ..AuthConfig::default()
            },
            &[],
            &[],
            |_| None,
        )
        .unwrap(),
    );
    let asks = (0..20).map(|_| {
        let (guard, uri) = (Arc::clone(&guard), format!("/x?auth_id={jwt}"));
        tokio::spawn(async move {
            guard
                .check(&request(&uri, &[]), peer(), now)
                .await
                .map(|p| p.method)
        })
    });
    for asked in asks.collect::<Vec<_>>() {
        assert_eq!(asked.await.unwrap(), Ok(Method::JwtKeySet));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1, "single flight");
    let unknown = jwt.replacen(
        jwt.split('.').next().unwrap(),
        &base64::Engine::encode(
            &base64::engine::general_purpose::URL_SAFE_NO_PAD,
            r#"{"alg":"EdDSA","kid":"new"}"#,
        ),
        1,
    );
    for later in [0, 59] {
        let refused = guard
            .check(
                &request(&format!("/x?auth_id={unknown}"), &[]),
                peer(),
                now + later,
            )
            .await;
        assert_eq!(refused.unwrap_err().reason, Reason::UnknownKey);
    }
    assert_eq!(
        count.load(Ordering::SeqCst),
        1,
        "an unknown key makes no second fetch within a minute"
    );
    let _ = guard
        .check(&request(&format!("/x?auth_id={unknown}"), &[]), peer(), now + 60)
        .await;
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let still = guard
        .check(&request(&format!("/x?auth_id={jwt}"), &[]), peer(), now + 61)
        .await;
    assert!(still.is_ok(), "the former set is kept: {still:?}");
}
