//! Where a credential may stand, which one of several counts, and from which pages a cookie does.

use crate::auth_support::{KEY, NOW, ask, flat, guard, nested, reason, token, with};
use axum::response::IntoResponse;
use moshi_server::auth::{AuthConfig, Guard, Method, Reason};
use moshi_server::stream::end::EndReason;
use serde_json::json;

const PAGE: &str = "https://app.example";

fn cookie(claims: &serde_json::Value) -> String {
    format!("better-auth.session_data={}", token(claims))
}

#[tokio::test]
async fn every_carrier_is_heard() {
    let guard = guard(&AuthConfig::default(), &[PAGE]);
    let jwt = token(&flat());
    let query = format!("/x?auth_id={jwt}");
    let bearer = format!("Bearer {jwt}");
    let offer = format!("moshi, bearer.{jwt}");
    let cookie = cookie(&nested());
    for (uri, headers, method, subject) in [
        ("/x", vec![("kyutai-api-key", KEY)], Method::ApiKey, None),
        ("/x?auth_id=a-long-enough-api-key", vec![], Method::ApiKey, None),
        (query.as_str(), vec![], Method::JwtSecret, Some("user:u1")),
        (
            "/x",
            vec![("authorization", bearer.as_str())],
            Method::JwtSecret,
            Some("user:u1"),
        ),
        (
            "/x",
            vec![("sec-websocket-protocol", offer.as_str())],
            Method::JwtSecret,
            Some("user:u1"),
        ),
        (
            "/x",
            vec![("cookie", cookie.as_str()), ("origin", PAGE)],
            Method::Cookie,
            Some("user:u1"),
        ),
    ] {
        let who = ask(&guard, uri, &headers).await.unwrap();
        assert_eq!(who.method, method);
        assert!(subject.is_none_or(|s| s == &*who.subject));
        assert_eq!(
            who.subprotocol,
            headers
                .iter()
                .any(|(n, _)| *n == "sec-websocket-protocol")
                .then_some("moshi")
        );
    }
    assert_eq!(reason(&guard, "/x", &[]).await, Reason::NoCredentials);
}

#[tokio::test]
async fn keys_tickets_and_tokens_are_heard_wherever_clients_of_other_services_put_them() {
    let guard = guard(&AuthConfig::default(), &[]);
    let jwt = token(&flat());
    for (name, form, subprotocol) in [
        ("kyutai-api-key", "{}", None),
        ("x-api-key", "{}", None),
        ("authorization", "Bearer {}", None),
        ("authorization", "Token {}", None),
        ("authorization", "token {}", None),
        ("sec-websocket-protocol", "moshi, bearer.{}", Some("moshi")),
        (
            "sec-websocket-protocol",
            "realtime, openai-insecure-api-key.{}, openai-beta.realtime-v1",
            Some("realtime"),
        ),
        ("sec-websocket-protocol", "token, {}", Some("token")),
        (
            "sec-websocket-protocol",
            "bearer, {}, x-deepgram-session-id, 1-2",
            Some("bearer"),
        ),
    ] {
        let who = ask(&guard, "/x", &[("kyutai-api-key", KEY)]).await.unwrap();
        let ticket = guard.ticket(&who, NOW).unwrap().id.reveal();
        for (credential, method) in [
            (KEY, Method::ApiKey),
            (&*jwt, Method::JwtSecret),
            (&*ticket, Method::Ticket),
        ] {
            let value = form.replace("{}", credential);
            let who = ask(&guard, "/x", &[(name, &value)]).await.unwrap();
            assert_eq!(
                (who.method, who.subprotocol),
                (method, subprotocol),
                "{name}: {form}"
            );
        }
        let wrong = form.replace("{}", "no-such-credential");
        let refusal = ask(&guard, "/x", &[(name, &wrong)]).await.unwrap_err();
        assert_eq!(refusal.status().as_u16(), 401, "{name}: {form}");
    }
}

#[tokio::test]
async fn a_server_of_keys_alone_takes_what_its_challenge_asks_for() {
    let keys = [KEY.to_owned()];
    let guard = Guard::from_config(&AuthConfig::default(), &keys, &[], |_| None).unwrap();
    let refusal = ask(&guard, "/x", &[]).await.unwrap_err().into_response();
    assert_eq!(refusal.headers()["www-authenticate"], "Bearer");
    let bearer = format!("Bearer {KEY}");
    let who = ask(&guard, "/x", &[("authorization", &bearer)]).await.unwrap();
    assert_eq!(who.method, Method::ApiKey);
    let wrong = reason(&guard, "/x", &[("authorization", "Bearer wrong")]).await;
    assert_eq!(wrong, Reason::WrongKey);
}

#[tokio::test]
async fn a_wrong_explicit_credential_never_falls_through_to_the_cookie() {
    let guard = guard(&AuthConfig::default(), &[PAGE]);
    let cookie = cookie(&nested());
    let jwt = token(&flat());
    let query = format!("/x?auth_id={jwt}");
    let both = |header| vec![header, ("cookie", cookie.as_str()), ("origin", PAGE)];
    assert_eq!(
        reason(&guard, "/x", &both(("kyutai-api-key", "wrong"))).await,
        Reason::WrongKey
    );
    assert_eq!(
        reason(&guard, "/x?auth_id=wrong", &both(("x", "y"))).await,
        Reason::Malformed
    );
    let bearer = ask(&guard, "/x", &both(("authorization", "Bearer a.b.c"))).await;
    let refused = bearer.unwrap_err();
    assert_eq!(
        (refused.reason, refused.method),
        (Reason::Malformed, Method::JwtSecret)
    );
    assert_eq!(
        reason(&guard, "/x", &both(("sec-websocket-protocol", "bearer.a.b.c"))).await,
        Reason::Malformed
    );
    assert_eq!(
        reason(&guard, &query, &both(("kyutai-api-key", "wrong"))).await,
        Reason::WrongKey,
        "the header shadows auth_id"
    );
}

#[tokio::test]
async fn the_origin_counts_exactly_when_the_credential_is_a_cookie() {
    let guard = guard(&AuthConfig::default(), &[PAGE]);
    let cookie = cookie(&nested());
    let shown = |origin| vec![("cookie", cookie.as_str()), ("origin", origin)];
    assert!(ask(&guard, "/x", &shown(PAGE)).await.is_ok());
    for foreign in [
        "https://evil.test",
        "null",
        "https://app.example:8443",
        "https://app.example.evil.test",
    ] {
        let refusal = ask(&guard, "/x", &shown(foreign)).await.unwrap_err();
        assert_eq!(
            (refusal.reason, refusal.status().as_u16(), refusal.end_reason()),
            (Reason::OriginNotAllowed, 403, EndReason::Forbidden)
        );
    }
    assert_eq!(
        reason(&guard, "/x", &[("cookie", cookie.as_str())]).await,
        Reason::OriginNotAllowed,
        "absent"
    );
    assert!(
        ask(
            &guard,
            "/x",
            &[("kyutai-api-key", KEY), ("origin", "https://evil.test")]
        )
        .await
        .is_ok()
    );
}

#[tokio::test]
async fn of_several_cookies_of_one_name_an_expired_one_gives_way_and_a_forged_one_does_not() {
    let guard = guard(&AuthConfig::default(), &[PAGE]);
    let (good, stale) = (token(&nested()), token(&with(nested(), "exp", json!(NOW - 100))));
    let forged = format!("{good}x");
    let (start, end) = good.split_at(good.len() / 2);
    let name = "better-auth.session_data";
    for cookies in [
        format!("{name}={stale}; {name}={good}"),
        format!("{name}={good}; {name}={stale}"),
        format!("__Secure-{name}={stale}; {name}={good}"),
        format!("{name}={stale}; {name}.0={start}; {name}.1={end}"),
        format!("{name}={stale}; {name}={stale}; {name}={stale}; {name}={good}"),
    ] {
        let who = ask(&guard, "/x", &[("cookie", &cookies), ("origin", PAGE)]).await;
        assert_eq!(&*who.unwrap().subject, "user:u1", "{cookies}");
    }
    for (cookies, told) in [
        (format!("{name}={stale}; {name}={stale}"), Reason::Expired),
        (
            format!("{name}={stale}; {name}={forged}; {name}={good}"),
            Reason::Expired,
        ),
        (format!("{name}={forged}; {name}={good}"), Reason::BadSignature),
        (
            format!("__Secure-{name}={forged}; {name}={good}"),
            Reason::BadSignature,
        ),
    ] {
        let headers = [("cookie", &*cookies), ("origin", PAGE)];
        assert_eq!(reason(&guard, "/x", &headers).await, told, "{cookies}");
    }
}

#[tokio::test]
async fn the_own_pages_plain_get_has_no_origin_but_says_where_it_comes_from() {
    let cookie = cookie(&nested());
    let from = |site| vec![("cookie", cookie.as_str()), ("sec-fetch-site", site)];
    let open = guard(&AuthConfig::default(), &[]);
    assert!(ask(&open, "/x", &from("same-origin")).await.is_ok());
    for other in ["same-site", "cross-site", "none", "SAME-ORIGIN"] {
        assert_eq!(
            reason(&open, "/x", &from(other)).await,
            Reason::OriginNotAllowed,
            "{other}"
        );
    }
    let elsewhere = guard(&AuthConfig::default(), &["https://other.example"]);
    assert_eq!(
        reason(&elsewhere, "/x", &from("same-origin")).await,
        Reason::OriginNotAllowed,
        "a list without our own origin leaves it out"
    );
}
