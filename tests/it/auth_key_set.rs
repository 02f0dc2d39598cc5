//! A key set from a URL: one fetch for all, and the former set while the auth server fails.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::auth_support::{NOW, request, with};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use moshi_server::auth::{AuthConfig, BetterAuthConfig, Guard, Method, Reason, Scope};
use serde_json::json;

fn peer() -> SocketAddr {
    ([203, 0, 113, 7], 1).into()
}

/// A key set server that counts its requests; those that `fails` names by their number get 500.
fn key_server(set: String, fails: impl Fn(usize) -> bool + Send + 'static) -> (String, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/api/auth/jwks", listener.local_addr().unwrap());
    let count = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let nth = seen.fetch_add(1, Ordering::SeqCst);
            let status = if fails(nth) { "500 Broken" } else { "200 OK" };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{set}",
                set.len()
            );
        }
    });
    (url, count)
}

/// The key pair of RFC 8037, appendix A: the private half as PKCS 8, the public half as a key set.
fn rfc8037() -> (EncodingKey, String) {
    let mut der = b"\x30\x2e\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20".to_vec();
    der.extend(
        URL_SAFE_NO_PAD
            .decode("nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A")
            .unwrap(),
    );
    let set = json!({"keys": [{
        "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "kid": "k", "x": "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo",
    }]});
    (EncodingKey::from_ed_der(&der), set.to_string())
}

#[tokio::test]
async fn a_plugins_token_is_of_type_jwt_or_of_none() {
    let (key, set) = rfc8037();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("jwks.json");
    std::fs::write(&path, set).unwrap();
    let issuer = "https://auth.example";
    let config = AuthConfig {
        better_auth: BetterAuthConfig {
            jwks_file: Some(path),
            issuer: Some(issuer.to_owned()),
            ..BetterAuthConfig::default()
        },
        ..AuthConfig::default()
    };
    let guard = Guard::from_config(&config, &[], &[], |_| None).unwrap();
    let verdict = async |typ: Option<&str>, claims: serde_json::Value| {
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("k".to_owned());
        header.typ = typ.map(str::to_owned);
        let token = jsonwebtoken::encode(&header, &claims, &key).unwrap();
        let uri = format!("/x?auth_id={token}");
        let checked = guard.check(&request(&uri, &[]), peer(), Scope::Listen, NOW).await;
        checked.map(|who| who.subject.to_string()).map_err(|e| e.reason)
    };
    let good = json!({"sub": "u1", "iss": issuer, "aud": issuer, "iat": NOW, "exp": NOW + 900});
    for typ in [None, Some("JWT"), Some("jwt")] {
        assert_eq!(
            verdict(typ, good.clone()).await,
            Ok("user:u1".to_owned()),
            "{typ:?}"
        );
    }
    // The same key may sign other things, which let nobody in.
    for typ in ["at+jwt", "", "logout+jwt"] {
        assert_eq!(
            verdict(Some(typ), good.clone()).await,
            Err(Reason::Malformed),
            "{typ}"
        );
    }
    for (claim, wrong, reason) in [
        ("sub", json!(null), Reason::MissingClaims),
        ("iss", json!("https://other.example"), Reason::WrongIssuer),
        ("iss", json!(null), Reason::WrongIssuer),
        ("aud", json!("https://other.example"), Reason::WrongAudience),
        ("aud", json!(null), Reason::WrongAudience),
    ] {
        assert_eq!(
            verdict(None, with(good.clone(), claim, wrong)).await,
            Err(reason),
            "{claim}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auth_server_that_starts_late_is_an_outage_and_is_found_within_seconds() {
    let (key, set) = rfc8037();
    let (url, count) = key_server(set, |nth| nth < 1);
    let issuer = "https://auth.example";
    let config = AuthConfig {
        failures_per_minute: 1,
        better_auth: BetterAuthConfig {
            jwks_url: Some(url),
            issuer: Some(issuer.to_owned()),
            ..BetterAuthConfig::default()
        },
        ..AuthConfig::default()
    };
    let guard = Guard::from_config(&config, &[], &[], |_| None).unwrap();
    let mut header = Header::new(Algorithm::EdDSA);
    header.kid = Some("k".to_owned());
    let claims = json!({"sub": "u1", "iss": issuer, "aud": issuer, "iat": NOW, "exp": NOW + 900});
    let uri = format!(
        "/x?auth_id={}",
        jsonwebtoken::encode(&header, &claims, &key).unwrap()
    );
    let ask = async |now| {
        let parts = request(&uri, &[]);
        guard.check(&parts, peer(), Scope::Listen, now).await
    };
    for _ in 0..3 {
        let refusal = ask(NOW + 1).await.unwrap_err();
        assert_eq!(
            refusal.reason,
            Reason::KeysUnavailable,
            "no attempt to be throttled"
        );
        assert_eq!((refusal.status().as_u16(), refusal.retry_after_s), (503, Some(2)));
    }
    assert_eq!(count.load(Ordering::SeqCst), 1, "one fetch in two seconds");
    assert_eq!(&*ask(NOW + 3).await.unwrap().subject, "user:u1");
    assert_eq!(count.load(Ordering::SeqCst), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_set_is_fetched_once_for_all_and_kept_while_the_server_fails() {
    let file: serde_json::Value = serde_json::from_str(include_str!("../better-auth/vectors.json")).unwrap();
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
    let (url, count) = key_server(file["jwks"]["asymmetric"].to_string(), |nth| nth >= 1);
    let claims = jwt.split('.').nth(1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
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
                .check(&request(&uri, &[]), peer(), Scope::Listen, now)
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
        &URL_SAFE_NO_PAD.encode(r#"{"alg":"EdDSA","kid":"new"}"#),
        1,
    );
    for later in [0, 59] {
        let refused = guard
            .check(
                &request(&format!("/x?auth_id={unknown}"), &[]),
                peer(),
                Scope::Listen,
                now + later,
            )
            .await;
        let refused = refused.unwrap_err();
        assert_eq!(
            (refused.reason, refused.method),
            (Reason::UnknownKey, Method::JwtKeySet)
        );
    }
    assert_eq!(
        count.load(Ordering::SeqCst),
        1,
        "an unknown key makes no second fetch within a minute"
    );
    let _ = guard
        .check(
            &request(&format!("/x?auth_id={unknown}"), &[]),
            peer(),
            Scope::Listen,
            now + 60,
        )
        .await;
    assert_eq!(count.load(Ordering::SeqCst), 2);
    let still = guard
        .check(
            &request(&format!("/x?auth_id={jwt}"), &[]),
            peer(),
            Scope::Listen,
            now + 61,
        )
        .await;
    assert!(still.is_ok(), "the former set is kept: {still:?}");
}
