//! The guard: precedence of credentials, origins, throttling, tickets, renewal.

use std::net::SocketAddr;

use crate::auth_support::{NOW, flat, guard, nested, request, token, with};
use axum::response::IntoResponse;
use moshi_server::auth::{
    AuthConfig, AuthConfigError, BetterAuthConfig, Credential, Guard, Method, OnExpiry, Principal, Reason,
    Refusal, Scope, key_file,
};
use moshi_server::config::Config;
use moshi_server::config::expand::Expander;
use moshi_server::stream::end::EndReason;
use serde_json::json;

const KEY: &str = "a-long-enough-api-key";
const PAGE: &str = "https://app.example";

fn peer() -> SocketAddr {
    ([203, 0, 113, 7], 1).into()
}

async fn ask(guard: &Guard, uri: &str, headers: &[(&str, &str)]) -> Result<Principal, Refusal> {
    guard
        .check(&request(uri, headers), peer(), Scope::Listen, NOW)
        .await
}

async fn reason(guard: &Guard, uri: &str, headers: &[(&str, &str)]) -> Reason {
    ask(guard, uri, headers).await.unwrap_err().reason
}

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

#[tokio::test]
async fn refusals_say_nothing_of_the_check_that_failed() {
    let guard = guard(&AuthConfig::default(), &[]);
    let mut bodies = Vec::new();
    let expired = token(&with(flat(), "exp", json!(1)));
    let unsigned = format!("{}x", token(&flat()));
    for id in ["wrong", &expired, &unsigned] {
        let response = ask(&guard, &format!("/x?auth_id={id}"), &[])
            .await
            .unwrap_err()
            .into_response();
        assert_eq!(response.status(), 401);
        assert_eq!(response.headers()["www-authenticate"], "Bearer");
        assert_eq!(response.headers()["cache-control"], "no-store");
        bodies.push(axum::body::to_bytes(response.into_body(), 1000).await.unwrap());
    }
    assert!(bodies.iter().all(|body| body == &bodies[0]));
}

#[tokio::test]
async fn an_address_that_fails_too_often_waits_but_is_not_locked_out() {
    let guard = guard(
        &AuthConfig {
            failures_per_minute: 3,
            ..AuthConfig::default()
        },
        &[],
    );
    for _ in 0..3 {
        assert_eq!(reason(&guard, "/x?auth_id=guess", &[]).await, Reason::Malformed);
    }
    let refusal = ask(&guard, "/x?auth_id=guess", &[]).await.unwrap_err();
    assert_eq!(
        (refusal.status().as_u16(), refusal.retry_after_s),
        (429, Some(20))
    );
    assert_eq!(
        reason(&guard, "/x?auth_id=short", &[]).await,
        Reason::Throttled,
        "a key that could be guessed must wait"
    );
    assert!(
        ask(&guard, "/x", &[("kyutai-api-key", KEY)]).await.is_ok(),
        "neighbours with a real key are heard"
    );
    let elsewhere = guard
        .check(
            &request("/x?auth_id=short", &[]),
            ([198, 51, 100, 1], 1).into(),
            Scope::Listen,
            NOW,
        )
        .await;
    assert!(elsewhere.is_ok());
    assert_eq!(
        reason(&guard, "/x", &[]).await,
        Reason::NoCredentials,
        "coming without any is no attempt"
    );
}

#[tokio::test]
async fn a_ticket_opens_one_session() {
    let guard = guard(&AuthConfig::default(), &[]);
    let who = ask(&guard, "/x", &[("kyutai-api-key", KEY)]).await.unwrap();
    let ticket = guard.ticket(&who, NOW).unwrap().id.reveal();
    let uri = format!("/x?auth_id={ticket}");
    let redeemed = ask(&guard, &uri, &[]).await.unwrap();
    assert_eq!(
        (redeemed.method, &redeemed.subject),
        (Method::Ticket, &who.subject)
    );
    assert_eq!(reason(&guard, &uri, &[]).await, Reason::WrongKey);
}

#[tokio::test]
async fn sessions_end_as_the_policy_says() {
    let long = json!(NOW + 100_000);
    let jwt = token(&with(flat(), "expiresAt", long));
    let uri = format!("/x?auth_id={jwt}");
    let ends = async |config: AuthConfig| {
        ask(&guard(&config, &[]), &uri, &[])
            .await
            .unwrap()
            .expires_at
            .unwrap()
            - NOW
    };
    assert_eq!(
        ends(AuthConfig {
            max_session_s: 200_000,
            ..AuthConfig::default()
        })
        .await,
        100_000,
        "with the session"
    );
    assert_eq!(ends(AuthConfig::default()).await, 86_400, "capped");
    assert_eq!(
        ends(AuthConfig {
            on_expiry: OnExpiry::Token,
            ..AuthConfig::default()
        })
        .await,
        60,
        "with the token"
    );
}

#[tokio::test]
async fn a_running_session_is_renewed_by_the_same_user_only() {
    let guard = guard(
        &AuthConfig {
            on_expiry: OnExpiry::Token,
            ..AuthConfig::default()
        },
        &[],
    );
    let who = ask(&guard, &format!("/x?auth_id={}", token(&flat())), &[])
        .await
        .unwrap();
    let newer = token(&with(flat(), "exp", json!(NOW + 500)));
    let renewed = guard
        .renew(&who, Credential::from(newer), peer(), NOW)
        .await
        .unwrap();
    assert_eq!(renewed.expires_at, Some(NOW + 500));
    let other = token(&with(flat(), "userId", json!("u2")));
    assert_eq!(
        guard
            .renew(&who, Credential::from(other), peer(), NOW)
            .await
            .unwrap_err()
            .reason,
        Reason::WrongKey
    );
}

#[tokio::test]
async fn no_renewal_makes_a_session_longer_than_allowed() {
    let config = AuthConfig {
        on_expiry: OnExpiry::Token,
        max_session_s: 100,
        ..AuthConfig::default()
    };
    let guard = guard(&config, &[]);
    let jwt = token(&with(flat(), "exp", json!(NOW + 1000)));
    let who = ask(&guard, &format!("/x?auth_id={jwt}"), &[]).await.unwrap();
    assert_eq!(who.expires_at, Some(NOW + 100));
    let renewed = guard
        .renew(&who, Credential::from(jwt), peer(), NOW + 60)
        .await
        .unwrap();
    assert_eq!(
        renewed.expires_at,
        Some(NOW + 100),
        "counted from the session's own start"
    );
}

#[tokio::test]
async fn signed_in_users_have_limits_unless_these_are_lifted_in_words() {
    let limits = async |toml: &str| {
        let config = format!("[modules.a]\ntype = \"Scripted\"\npath = \"/a\"\n{toml}");
        let (config, _) = Config::parse("test", &config, &Expander::from_env()).unwrap();
        let guard = guard(&config.auth, &[]);
        let jwt = token(&flat());
        let limits = ask(&guard, &format!("/x?auth_id={jwt}"), &[])
            .await
            .unwrap()
            .limits;
        let warned = guard
            .warnings()
            .iter()
            .filter(|w| w.contains("unlimited"))
            .count();
        (limits.max_sessions, limits.minutes_per_day, warned)
    };
    assert_eq!(limits("").await, (Some(3), Some(600), 0));
    assert_eq!(
        limits("[auth.users]\nmax_sessions = 2\nminutes_per_day = 7").await,
        (Some(2), Some(7), 0)
    );
    let lifted = "[auth.users]\nmax_sessions = \"unlimited\"\nminutes_per_day = \"unlimited\"";
    assert_eq!(limits(lifted).await, (None, None, 2));
    let everybody = "[limits]\nmax_sessions_per_user = 5\n";
    assert_eq!(limits(everybody).await, (Some(5), Some(600), 0));
    assert_eq!(limits(&format!("{everybody}{lifted}")).await, (Some(5), None, 1));
    for wrong in ["0", "-1", "\"none\""] {
        let config = format!(
            "[auth.users]\nmax_sessions = {wrong}\n[modules.a]\ntype = \"Scripted\"\npath = \"/a\"\n"
        );
        let errors = Config::parse("test", &config, &Expander::from_env())
            .unwrap_err()
            .to_string();
        assert!(
            errors.contains("a number of at least 1, or \"unlimited\""),
            "{errors}"
        );
    }
}

#[tokio::test]
async fn a_route_is_open_to_the_scope_that_it_takes_and_to_administrators() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("keys.toml");
    let make = |name: &str, scope| {
        let new = key_file::NewKey {
            scopes: vec![scope],
            ..key_file::NewKey::named(name)
        };
        key_file::create(&path, new, NOW).unwrap().reveal()
    };
    let (admin, listener) = (make("a", Scope::Admin), make("l", Scope::Listen));
    // A record as it may have been written by hand.
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("scopes = [\"listen\"]\n", "")).unwrap();
    let config = AuthConfig {
        key_file: Some(path),
        ..AuthConfig::default()
    };
    let guard = guard(&config, &[]);
    let jwt = token(&flat());
    let status = async |credential: &str, needs| {
        let uri = format!("/x?auth_id={credential}");
        let checked = guard.check(&request(&uri, &[]), peer(), needs, NOW).await;
        checked.map_or_else(|refusal| refusal.status().as_u16(), |_| 200)
    };
    for (credential, listen, operate) in [
        (&*admin, 200, 200),
        (&*listener, 200, 403),
        (KEY, 200, 403),
        (&*jwt, 200, 403),
    ] {
        assert_eq!(status(credential, Scope::Listen).await, listen);
        assert_eq!(status(credential, Scope::Admin).await, operate);
    }
    assert_eq!(status("wrong", Scope::Admin).await, 401);
    for _ in 0..40 {
        status(&listener, Scope::Admin).await;
    }
    assert_eq!(
        status("short", Scope::Listen).await,
        200,
        "a good key without the scope is no guess"
    );
}

#[tokio::test]
async fn without_credentials_everyone_is_anonymous_except_foreign_pages() {
    let open = Guard::from_config(&AuthConfig::default(), &[], &[], |_| None).unwrap();
    assert!(open.is_open());
    assert_eq!(&*ask(&open, "/x", &[]).await.unwrap().subject, "anonymous");
    assert_eq!(
        reason(&open, "/x", &[("origin", "https://evil.test")]).await,
        Reason::OriginNotAllowed
    );
    let as_operator = open.check(&request("/x", &[]), peer(), Scope::Admin, NOW).await;
    assert_eq!(as_operator.unwrap_err().reason, Reason::MissingScope);
}

#[test]
fn settings_that_would_be_unsafe_refuse_to_start() {
    let build = |better_auth: BetterAuthConfig, secret: &str| {
        let config = AuthConfig {
            better_auth,
            ..AuthConfig::default()
        };
        Guard::from_config(&config, &[], &[], |name| {
            (name == "BETTER_AUTH_SECRET").then(|| secret.to_owned())
        })
        .err()
    };
    let plain = BetterAuthConfig::default();
    for secret in [
        "only-16-chars-xx",
        "                                  ",
        "better-auth-secret-12345678901234567890",
    ] {
        assert!(matches!(
            build(plain.clone(), secret),
            Some(AuthConfigError::Secret(_))
        ));
    }
    let url = |url: &str| BetterAuthConfig {
        jwks_url: Some(url.to_owned()),
        ..plain.clone()
    };
    assert!(matches!(
        build(url("https://a.example/jwks"), ""),
        Some(AuthConfigError::NoIssuer)
    ));
    assert!(matches!(
        build(url("http://a.example/jwks"), ""),
        Some(AuthConfigError::KeySet(_))
    ));
    assert!(matches!(
        build(
            BetterAuthConfig {
                bind_session_token: true,
                ..plain.clone()
            },
            ""
        ),
        Some(AuthConfigError::BindWithoutSecret)
    ));
    assert!(matches!(
        build(
            BetterAuthConfig {
                leeway_s: 61,
                ..plain
            },
            ""
        ),
        Some(AuthConfigError::Leeway(61))
    ));
}
