//! How long a session may last, how much a user may use, and which routes a key opens.

use crate::auth_support::{KEY, NOW, ask, flat, guard, peer, request, token, with};
use moshi_server::auth::{AuthConfig, OnExpiry, Reason, Scope, key_file};
use moshi_server::config::Config;
use moshi_server::config::expand::Expander;
use moshi_server::stream::secret::Secret;
use serde_json::json;

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
    let renewed = guard.renew(&who, Secret::from(newer), peer(), NOW).await.unwrap();
    assert_eq!(renewed.expires_at, Some(NOW + 500));
    let other = token(&with(flat(), "userId", json!("u2")));
    assert_eq!(
        guard
            .renew(&who, Secret::from(other), peer(), NOW)
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
        .renew(&who, Secret::from(jwt), peer(), NOW + 60)
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
