//! The guard: what it tells of a refusal, throttling, tickets, an open server, settings that refuse to start.

use crate::auth_support::{KEY, NOW, ask, flat, guard, peer, reason, request, token, with};
use axum::response::IntoResponse;
use moshi_server::auth::{AuthConfig, AuthConfigError, BetterAuthConfig, Guard, Method, Reason, Scope};
use serde_json::json;

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
