//! One test per trap of checking Better Auth's tokens with a JWT library.

use crate::auth_support::{NOW, SECRET, flat, inspect, judge, nested, sign, token, with};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use moshi_server::auth::BetterAuthConfig;
use proptest::prelude::*;
use serde_json::json;

fn rules() -> BetterAuthConfig {
    BetterAuthConfig::default()
}

#[test]
fn the_good_ones_pass() {
    assert_eq!(judge(&nested()), "accept");
    assert_eq!(judge(&flat()), "accept");
}

#[test]
fn trap_an_audience_must_be_ours_if_there_is_one() {
    let to_us = with(nested(), "aud", json!(["other", "moshi-server"]));
    let ours = BetterAuthConfig {
        audience: Some("moshi-server".to_owned()),
        ..rules()
    };
    assert_eq!(inspect(&token(&to_us), ours.clone()).verdict, "accept");
    assert_eq!(
        inspect(&token(&nested()), ours.clone()).verdict,
        "accept",
        "Better Auth's cookies name none"
    );
    assert_eq!(judge(&to_us), "wrong_audience", "we have no name to be meant by");
    for wrong in [json!("moshi"), json!([]), json!(["x"])] {
        let claims = with(nested(), "aud", wrong);
        assert_eq!(
            inspect(&token(&claims), ours.clone()).reason,
            Some("wrong_audience")
        );
    }
    assert_eq!(
        inspect(&token(&with(nested(), "aud", json!(7))), ours).reason,
        Some("malformed_claims")
    );
}

#[test]
fn trap_nbf_is_checked() {
    assert_eq!(judge(&with(nested(), "nbf", json!(NOW + 16))), "not_yet_valid");
    assert_eq!(judge(&with(nested(), "nbf", json!(NOW + 15))), "accept");
    assert_eq!(judge(&with(nested(), "nbf", json!("0"))), "malformed_claims");
}

#[test]
fn trap_iat_is_checked_with_a_minute_at_least() {
    assert_eq!(judge(&with(nested(), "iat", json!(NOW + 60))), "accept");
    assert_eq!(judge(&with(nested(), "iat", json!(NOW + 61))), "issued_in_future");
    assert_eq!(
        judge(&with(nested(), "iat", json!(null))),
        "accept",
        "not required"
    );
}

#[test]
fn trap_exp_is_required_numeric_and_near() {
    assert_eq!(judge(&with(nested(), "exp", json!(null))), "missing_claims");
    for wrong in [
        json!("1800000300"),
        json!(true),
        json!([NOW + 300]),
        json!((NOW + 300) * 1000),
        json!(1e300),
    ] {
        assert_eq!(
            judge(&with(nested(), "exp", wrong.clone())),
            "malformed_claims",
            "{wrong}"
        );
    }
    assert_eq!(judge(&with(nested(), "exp", json!(-1))), "expired");
    assert_eq!(judge(&with(nested(), "exp", json!(NOW + 34_560_000))), "accept");
    assert_eq!(
        judge(&with(nested(), "exp", json!(NOW + 34_560_001))),
        "malformed_claims"
    );
}

#[test]
fn trap_the_leeway_is_ours_and_the_boundary_is_expired() {
    let at = |exp: i64, leeway_s| {
        inspect(
            &token(&with(nested(), "exp", json!(exp))),
            BetterAuthConfig { leeway_s, ..rules() },
        )
        .verdict
    };
    assert_eq!((at(NOW, 0), at(NOW + 1, 0)), ("reject", "accept"));
    assert_eq!((at(NOW - 15, 15), at(NOW - 14, 15)), ("reject", "accept"));
    assert_eq!(at(NOW - 20, 15), "reject", "the library would allow a minute");
}

#[test]
fn trap_the_sessions_own_end_counts_without_leeway() {
    for over in [
        json!(NOW),
        json!(NOW * 1000),
        json!("2027-01-15T08:00:00.000Z"),
        json!(0),
    ] {
        assert_eq!(
            judge(&with(nested(), "session.expiresAt", over.clone())),
            "session_expired",
            "{over}"
        );
    }
    for unreadable in [json!("soon"), json!("1800000300"), json!(true), json!({})] {
        assert_eq!(
            judge(&with(nested(), "session.expiresAt", unreadable.clone())),
            "malformed_claims",
            "{unreadable}"
        );
    }
    assert_eq!(
        judge(&with(nested(), "session.createdAt", json!("nonsense"))),
        "accept",
        "only the end matters"
    );
}

#[test]
fn trap_unknown_crit_is_refused() {
    let header = json!({"alg": "HS256", "crit": ["exp"]});
    assert_eq!(
        inspect(&sign(&header, &nested(), SECRET), rules()).reason,
        Some("malformed")
    );
}

#[test]
fn trap_the_algorithm_never_comes_from_the_header() {
    for alg in [
        "none", "nOnE", "hs256", "HS384", "HS512", "RS256", "ES256", "EdDSA", "PS256", "",
    ] {
        let got = inspect(&sign(&json!({"alg": alg}), &nested(), SECRET), rules());
        assert_eq!(got.reason, Some("alg_not_allowed"), "{alg}");
    }
    for header in [
        json!({}),
        json!({"alg": null}),
        json!({"alg": 1}),
        json!(["HS256"]),
        json!("HS256"),
    ] {
        assert_eq!(
            inspect(&sign(&header, &nested(), SECRET), rules()).reason,
            Some("malformed"),
            "{header}"
        );
    }
}

#[test]
fn trap_an_empty_secret_signs_nothing() {
    assert_eq!(
        inspect(&sign(&json!({"alg": "HS256"}), &nested(), ""), rules()).reason,
        Some("bad_signature")
    );
}

#[test]
fn trap_a_verification_mail_is_no_session() {
    let mail = json!({"email": "v@example.test", "userId": "u1", "iat": NOW, "exp": NOW + 3600});
    assert_eq!(judge(&mail), "missing_claims");
    assert_eq!(
        judge(&with(mail.clone(), "updateTo", json!("w@example.test"))),
        "missing_claims"
    );
    assert_eq!(judge(&with(mail, "id", json!(""))), "missing_claims");
}

#[test]
fn trap_both_ids_are_required_and_agree() {
    for (path, reason) in [
        ("session.id", "missing_claims"),
        ("session.userId", "missing_claims"),
        ("user.id", "missing_claims"),
        ("user", "missing_claims"),
    ] {
        assert_eq!(judge(&with(nested(), path, json!(null))), reason, "{path}");
    }
    assert_eq!(judge(&with(nested(), "user.id", json!("u2"))), "malformed_claims");
    assert_eq!(judge(&with(nested(), "session.id", json!(" "))), "missing_claims");
    for odd in [json!(7.5), json!(true), json!(["7"]), json!({"id": 7})] {
        assert_eq!(
            judge(&with(flat(), "userId", odd.clone())),
            "malformed_claims",
            "{odd}"
        );
    }
    // One half of the nested form makes it nested: flat ids beside it do not help.
    assert_eq!(
        judge(&with(flat(), "user", json!({"id": "u1"}))),
        "missing_claims"
    );
}

#[test]
fn ids_that_a_database_numbers_are_taken_as_text() {
    let numbered = with(
        with(nested(), "session.id", json!(7)),
        "session.userId",
        json!(42),
    );
    for same in [json!(42), json!("42")] {
        let claims = with(numbered.clone(), "user.id", same);
        let got = inspect(&token(&claims), BetterAuthConfig::default());
        assert_eq!(
            (got.verdict, got.user_id.as_deref(), got.session_id.as_deref()),
            ("accept", Some("42"), Some("7"))
        );
    }
    assert_eq!(judge(&with(numbered, "user.id", json!(43))), "malformed_claims");
    assert_eq!(judge(&with(flat(), "userId", json!(42))), "accept");
}

#[test]
fn trap_a_banned_user_stays_out() {
    for banned in [json!(true), json!(1), json!("true")] {
        assert_eq!(
            judge(&with(nested(), "user.banned", banned.clone())),
            "user_banned",
            "{banned}"
        );
    }
    for free in [json!(false), json!(0)] {
        assert_eq!(judge(&with(nested(), "user.banned", free)), "accept");
    }
    assert_eq!(judge(&with(flat(), "banned", json!(true))), "user_banned");
}

#[test]
fn an_unverified_address_passes_unless_the_operator_minds() {
    let strict = BetterAuthConfig {
        require_verified_email: true,
        ..rules()
    };
    assert_eq!(
        inspect(&token(&nested()), strict.clone()).reason,
        Some("email_not_verified")
    );
    let verified = with(nested(), "user.emailVerified", json!(true));
    assert_eq!(inspect(&token(&verified), strict).verdict, "accept");
}

#[test]
fn a_pinned_version_voids_all_others() {
    let pinned = BetterAuthConfig {
        cookie_cache_version: Some("2".to_owned()),
        ..rules()
    };
    assert_eq!(
        inspect(&token(&nested()), pinned.clone()).reason,
        Some("wrong_version")
    );
    assert_eq!(
        inspect(&token(&with(nested(), "version", json!(2))), pinned.clone()).reason,
        Some("wrong_version")
    );
    assert_eq!(
        inspect(&token(&with(nested(), "version", json!("2"))), pinned).verdict,
        "accept"
    );
}

#[test]
fn an_issuer_must_be_ours_if_there_is_one() {
    let ours = BetterAuthConfig {
        issuer: Some("https://auth.example".to_owned()),
        ..rules()
    };
    assert_eq!(inspect(&token(&nested()), ours.clone()).verdict, "accept");
    let other = with(nested(), "iss", json!("https://other.example"));
    assert_eq!(inspect(&token(&other), ours).reason, Some("wrong_issuer"));
}

#[test]
fn trap_size_and_depth_are_bounded_before_work() {
    let small = BetterAuthConfig {
        max_token_bytes: 100,
        ..rules()
    };
    assert_eq!(inspect(&token(&nested()), small).reason, Some("too_large"));
    let deep = format!(
        "{}.{}.x",
        URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#),
        URL_SAFE_NO_PAD.encode("[".repeat(10_000))
    );
    assert_eq!(inspect(&deep, rules()).reason, Some("bad_signature"));
}

#[test]
fn advice_tells_the_usual_misunderstandings_apart() {
    let advice = |token: &str| inspect(token, rules()).advice.unwrap();
    assert!(advice("RGnvabcdefghijklmnopqrstuvwxyz01").contains("opaque"));
    assert!(advice("eyJzZXNzaW9uIjp7fX0").contains("compact"));
    assert!(advice("eyJh..iv.data.tag").contains("jwe"));
    assert!(advice("RGnvabcdefghijklmnopqrstuvwxyz01.c2lnbmF0dXJl=").contains("signed session token"));
    assert!(
        advice(&sign(&json!({"alg": "HS256"}), &nested(), "another secret")).contains("BETTER_AUTH_SECRET")
    );
}

proptest! {
    #[test]
    fn any_text_is_judged_without_panic(text in ".{0,300}") {
        prop_assert_eq!(inspect(&text, rules()).verdict, "reject");
    }

    #[test]
    fn changing_any_character_voids_the_token(at in 0usize..10_000, to in "[A-Za-z0-9_-]") {
        let good = token(&nested());
        let at = at % good.len();
        let changed = format!("{}{to}{}", &good[..at], &good[at + 1..]);
        prop_assume!(changed != good);
        prop_assert_eq!(inspect(&changed, rules()).verdict, "reject");
    }

    #[test]
    fn a_claim_of_any_type_is_judged_without_panic(name in "exp|iat|nbf|aud|iss|session|user|version|updatedAt", value in any_json()) {
        let _ = judge(&with(nested(), &name, value));
    }

    #[test]
    fn no_token_lives_past_its_end(exp in -1_000_000i64..1_000_000, leeway_s in 0i64..=60) {
        let claims = with(nested(), "exp", json!(NOW + exp));
        let verdict = inspect(&token(&claims), BetterAuthConfig { leeway_s, ..rules() }).verdict;
        prop_assert_eq!(verdict == "accept", exp + leeway_s > 0);
    }
}

fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(json!(false)),
        any::<f64>().prop_map(|n| json!(n)),
        any::<i64>().prop_map(|n| json!(n)),
        ".{0,20}".prop_map(|s| json!(s)),
    ];
    leaf.prop_recursive(3, 12, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| json!(v)),
            prop::collection::hash_map("id|userId|token|expiresAt", inner, 0..4).prop_map(|m| json!(m)),
        ]
    })
}
