//! A real Better Auth server issues, our guard judges.

use std::net::SocketAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::auth_support::better_auth::{BetterAuth, Browser};
use crate::auth_support::{SECRET, request};
use moshi_server::auth::{AuthConfig, BetterAuthConfig, Guard, Method, Principal, Reason, Refusal, Scope};
use serde_json::{Value, json};

const NEW_SECRET: &str = "another-secret-of-the-tests-for-the-rotation";

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() as i64
}

fn guard_with(better_auth: BetterAuthConfig, origin: &str, env: &[(&str, &str)]) -> Guard {
    let config = AuthConfig {
        better_auth,
        ..AuthConfig::default()
    };
    let get = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    Guard::from_config(&config, &[], &[origin.to_owned()], get).unwrap()
}

fn guard_of(server: &BetterAuth) -> Guard {
    guard_with(
        BetterAuthConfig::default(),
        &server.base_url,
        &[("BETTER_AUTH_SECRET", SECRET)],
    )
}

async fn with_cookies(
    guard: &Guard,
    browser: &Browser<'_>,
    origin: &str,
    at: i64,
) -> Result<Principal, Refusal> {
    let peer: SocketAddr = ([203, 0, 113, 1], 1).into();
    guard
        .check(
            &request("/x", &[("cookie", &browser.header()), ("origin", origin)]),
            peer,
            Scope::Listen,
            at,
        )
        .await
}

async fn with_auth_id(guard: &Guard, id: &str, at: i64) -> Result<Principal, Refusal> {
    guard
        .check(
            &request(&format!("/x?auth_id={id}"), &[]),
            ([203, 0, 113, 1], 1).into(),
            Scope::Listen,
            at,
        )
        .await
}

fn settings(more: Value) -> Value {
    let mut settings = json!({"secret": SECRET, "strategy": "jwt"});
    settings
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    settings
}

fn subject(answer: &Value) -> String {
    format!("user:{}", answer["user"]["id"].as_str().unwrap())
}

#[tokio::test]
async fn sign_up_sign_in_expiry_refresh_and_sign_out() {
    let Some(server) = BetterAuth::start(&settings(json!({}))) else {
        return;
    };
    let guard = guard_of(&server);
    let (browser, answer) = Browser::signed_up(&server, "a@example.test", "");
    let who = with_cookies(&guard, &browser, &server.base_url, now())
        .await
        .unwrap();
    assert_eq!((&*who.subject, who.method), (&*subject(&answer), Method::Cookie));
    assert!(
        who.session.is_some() && who.expires_at.is_some_and(|end| end > now() + 3600),
        "runs to the session's end"
    );

    let mut other = Browser::new(&server);
    other.post(
        "sign-in/email",
        &json!({"email": "a@example.test", "password": "a long password"}),
    );
    let again = with_cookies(&guard, &other, &server.base_url, now())
        .await
        .unwrap();
    assert_eq!(again.subject, who.subject);
    assert_ne!(again.session, who.session);

    let later = now() + 316;
    assert_eq!(
        with_cookies(&guard, &other, &server.base_url, later)
            .await
            .unwrap_err()
            .reason,
        Reason::Expired
    );
    let before = other.header();
    other.get("get-session");
    assert_eq!(other.header(), before, "not renewed while it is valid");
    other.get("get-session?disableCookieCache=true");
    assert!(
        with_cookies(&guard, &other, &server.base_url, now())
            .await
            .is_ok()
    );

    let stolen = other.cookies.clone();
    other.post("sign-out", &json!({}));
    assert_eq!(
        with_cookies(&guard, &other, &server.base_url, now())
            .await
            .unwrap_err()
            .reason,
        Reason::NoCredentials
    );
    other.cookies = stolen;
    assert!(
        with_cookies(&guard, &other, &server.base_url, now())
            .await
            .is_ok(),
        "sign-out does not reach the cache"
    );
    assert!(
        with_cookies(&guard, &other, &server.base_url, later)
            .await
            .is_err(),
        "but it dies by itself"
    );
}

#[tokio::test]
async fn what_is_not_a_session_is_refused() {
    let Some(server) = BetterAuth::start(&settings(json!({}))) else {
        return;
    };
    let guard = guard_of(&server);
    let (mut browser, _) = Browser::signed_up(&server, "b@example.test", "");
    let opaque = browser.get("get-session")["session"]["token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(
        with_auth_id(&guard, &opaque, now()).await.unwrap_err().reason,
        Reason::Malformed
    );
    assert_eq!(
        with_cookies(&guard, &browser, "https://evil.test", now())
            .await
            .unwrap_err()
            .reason,
        Reason::OriginNotAllowed
    );
    browser.cookies.remove("better-auth.session_data").unwrap();
    assert_eq!(
        with_cookies(&guard, &browser, &server.base_url, now())
            .await
            .unwrap_err()
            .reason,
        Reason::NoCredentials
    );
}

#[tokio::test]
async fn a_minted_token_is_good_for_a_minute() {
    let Some(server) = BetterAuth::start(&settings(json!({}))) else {
        return;
    };
    let rules = BetterAuthConfig {
        audience: Some("moshi-server".to_owned()),
        ..BetterAuthConfig::default()
    };
    let guard = guard_with(rules, &server.base_url, &[("BETTER_AUTH_SECRET", SECRET)]);
    let (mut browser, answer) = Browser::signed_up(&server, "c@example.test", "");
    let token = browser.get("moshi-token")["token"].as_str().unwrap().to_owned();
    let who = with_auth_id(&guard, &token, now()).await.unwrap();
    assert_eq!(
        (&*who.subject, who.method),
        (&*subject(&answer), Method::JwtSecret)
    );
    assert_eq!(
        with_auth_id(&guard, &token, now() + 80).await.unwrap_err().reason,
        Reason::Expired
    );
    assert_eq!(
        with_auth_id(&guard_of(&server), &token, now())
            .await
            .unwrap_err()
            .reason,
        Reason::WrongAudience
    );
}

#[tokio::test]
async fn a_large_profile_comes_in_chunks() {
    let Some(server) = BetterAuth::start(&settings(json!({}))) else {
        return;
    };
    let (browser, answer) = Browser::signed_up(&server, "d@example.test", &"lorem ipsum ".repeat(700));
    assert!(
        browser.cookies.contains_key("better-auth.session_data.1")
            && !browser.cookies.contains_key("better-auth.session_data")
    );
    let who = with_cookies(&guard_of(&server), &browser, &server.base_url, now())
        .await
        .unwrap();
    assert_eq!(&*who.subject, &*subject(&answer));
}

#[tokio::test]
async fn an_https_site_has_secure_cookies_bound_to_the_session() {
    let Some(server) = BetterAuth::start(&settings(
        json!({"baseURL": "https://app.example", "cookiePrefix": "moshi", "version": "7"}),
    )) else {
        return;
    };
    let rules = BetterAuthConfig {
        cookie_prefix: "moshi".to_owned(),
        require_secure_cookie: true,
        bind_session_token: true,
        cookie_cache_version: Some("7".to_owned()),
        ..BetterAuthConfig::default()
    };
    let guard = guard_with(rules.clone(), &server.base_url, &[("BETTER_AUTH_SECRET", SECRET)]);
    let (mut browser, _) = Browser::signed_up(&server, "e@example.test", "");
    assert!(browser.cookies.contains_key("__Secure-moshi.session_data"));
    assert!(
        with_cookies(&guard, &browser, &server.base_url, now())
            .await
            .is_ok()
    );
    let (stranger, _) = Browser::signed_up(&server, "f@example.test", "");
    let foreign = stranger.cookies["__Secure-moshi.session_token"].clone();
    let own = browser
        .cookies
        .insert("__Secure-moshi.session_token".to_owned(), foreign)
        .unwrap();
    assert_eq!(
        with_cookies(&guard, &browser, &server.base_url, now())
            .await
            .unwrap_err()
            .reason,
        Reason::SessionTokenMismatch
    );
    browser
        .cookies
        .insert("__Secure-moshi.session_token".to_owned(), own);
    let pinned = BetterAuthConfig {
        cookie_cache_version: Some("8".to_owned()),
        ..rules
    };
    let guard = guard_with(pinned, &server.base_url, &[("BETTER_AUTH_SECRET", SECRET)]);
    assert_eq!(
        with_cookies(&guard, &browser, &server.base_url, now())
            .await
            .unwrap_err()
            .reason,
        Reason::WrongVersion
    );
}

#[tokio::test]
async fn a_rotation_of_the_secret_overlaps() {
    let Some(before) = BetterAuth::start(&settings(json!({}))) else {
        return;
    };
    let rotated = json!({"secrets": [{"version": 2, "value": NEW_SECRET}, {"version": 1, "value": SECRET}]});
    let Some(after) = BetterAuth::start(&settings(rotated)) else {
        return;
    };
    let both = format!("2:{NEW_SECRET},1:{SECRET}");
    let guard = guard_with(
        BetterAuthConfig::default(),
        &before.base_url,
        &[("BETTER_AUTH_SECRETS", &both)],
    );
    for server in [&before, &after] {
        let (browser, _) = Browser::signed_up(server, "g@example.test", "");
        assert!(
            with_cookies(&guard, &browser, &before.base_url, now())
                .await
                .is_ok()
        );
    }
    let (browser, _) = Browser::signed_up(&after, "h@example.test", "");
    assert_eq!(
        with_cookies(&guard_of(&after), &browser, &after.base_url, now())
            .await
            .unwrap_err()
            .reason,
        Reason::BadSignature
    );
}

#[tokio::test]
async fn other_strategies_are_refused() {
    for strategy in ["compact", "jwe"] {
        let Some(server) = BetterAuth::start(&settings(json!({"strategy": strategy}))) else {
            return;
        };
        let (browser, _) = Browser::signed_up(&server, "i@example.test", "");
        let refused = with_cookies(&guard_of(&server), &browser, &server.base_url, now())
            .await
            .unwrap_err();
        assert_eq!(refused.reason, Reason::Malformed, "{strategy}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_jwt_plugins_tokens_and_cookies_pass_with_its_key_set_alone() {
    for alg in ["EdDSA", "ES256", "RS256"] {
        let plugin = json!({"jwt": {"sessionCookieCache": true, "jwks": {"keyPairConfig": {"alg": alg}}}});
        let Some(server) = BetterAuth::start(&settings(plugin)) else {
            return;
        };
        let rules = BetterAuthConfig {
            jwks_url: Some(format!("{}/api/auth/jwks", server.url)),
            issuer: Some(server.base_url.clone()),
            ..BetterAuthConfig::default()
        };
        let guard = guard_with(rules, &server.base_url, &[]);
        let (mut browser, answer) = Browser::signed_up(&server, "j@example.test", "");
        let token = browser.get("token")["token"].as_str().unwrap().to_owned();
        let who = with_auth_id(&guard, &token, now()).await.unwrap();
        assert_eq!(
            (&*who.subject, who.method),
            (&*subject(&answer), Method::JwtKeySet),
            "{alg}"
        );
        let who = with_cookies(&guard, &browser, &server.base_url, now())
            .await
            .unwrap();
        assert_eq!(
            (&*who.subject, who.method),
            (&*subject(&answer), Method::Cookie),
            "{alg}"
        );
        assert_eq!(
            with_auth_id(&guard, &token, now() + 1000)
                .await
                .unwrap_err()
                .reason,
            Reason::Expired
        );
        // The plugin's token names no session, so it may not stand in the cookie.
        let mut planted = Browser::new(&server);
        planted
            .cookies
            .insert("better-auth.session_data".to_owned(), token);
        assert_eq!(
            with_cookies(&guard, &planted, &server.base_url, now())
                .await
                .unwrap_err()
                .reason,
            Reason::Malformed
        );
    }
}
