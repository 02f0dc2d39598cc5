//! Tokens and cookies captured from a real Better Auth server, each with the verdict it must get.

use std::collections::HashMap;

use moshi_server::auth::inspect::{Inspection, Inspector, Subject};
use moshi_server::auth::{BetterAuthConfig, KeySource, Origins, Secrets, parse_list};
use serde_json::Value;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../better-auth/vectors.json")).unwrap()
}

fn secrets(names: &Value, all: &Value) -> Secrets {
    let values: Vec<&str> = names
        .as_array()
        .unwrap()
        .iter()
        .map(|name| all[name.as_str().unwrap()].as_str().unwrap())
        .collect();
    let env: HashMap<&str, String> = match values.as_slice() {
        [one] => HashMap::from([("BETTER_AUTH_SECRET", (*one).to_owned())]),
        many => {
            let list: Vec<String> = many
                .iter()
                .enumerate()
                .map(|(i, s)| format!("{}:{s}", many.len() - i))
                .collect();
            HashMap::from([("BETTER_AUTH_SECRETS", list.join(","))])
        }
    };
    Secrets::from_env(|name| env.get(name).cloned()).unwrap()
}

fn settings(config: &Value, leeway_s: i64) -> BetterAuthConfig {
    let mut settings = BetterAuthConfig {
        leeway_s,
        ..BetterAuthConfig::default()
    };
    let text = |value: &Value| value.as_str().map(str::to_owned);
    for (key, value) in config.as_object().unwrap() {
        match key.as_str() {
            "audience" => settings.audience = text(value),
            "issuer" => settings.issuer = text(value),
            "cookie_prefix" => settings.cookie_prefix = text(value).unwrap(),
            "session_data_cookie" => settings.session_data_cookie = text(value),
            "require_secure_cookie" => settings.require_secure_cookie = value.as_bool().unwrap(),
            "bind_session_token" => settings.bind_session_token = value.as_bool().unwrap(),
            "cookie_cache_version" => settings.cookie_cache_version = text(value),
            "max_token_bytes" => settings.max_token_bytes = value.as_u64().unwrap() as usize,
            other => panic!("vectors configure {other}, which this test does not know"),
        }
    }
    settings
}

fn subject(vector: &Value) -> Subject {
    match vector["input"].as_str().unwrap() {
        "token" => Subject::Token(vector["token"].as_str().unwrap().to_owned()),
        _ => Subject::Cookies(
            vector["cookie_headers"]
                .as_array()
                .unwrap()
                .iter()
                .map(|h| h.as_str().unwrap().as_bytes().to_vec())
                .collect(),
        ),
    }
}

#[test]
fn every_vector_gets_its_verdict_at_every_leeway() {
    let file = vectors();
    let list = file["vectors"].as_array().unwrap();
    assert!(list.len() >= 83);
    let mut wrong = Vec::new();
    for vector in list {
        let leeways = match vector["leeway_boundary"].as_bool() {
            Some(true) => vec![vector["leeway_s"].as_i64().unwrap()],
            _ => (0..=60).collect(),
        };
        for leeway_s in leeways {
            let inspector = Inspector {
                settings: settings(&vector["config"], leeway_s),
                secrets: Ok(secrets(&vector["secrets"], &file["secrets"])),
                keys: None,
                origin: None,
            };
            let got = inspector.inspect(subject(vector), vector["now"].as_i64().unwrap());
            let expect = &vector["expect"];
            let same = expect["verdict"] == got.verdict
                && expect["user_id"] == serde_json::json!(got.user_id)
                && expect["session_id"] == serde_json::json!(got.session_id)
                && expect["reason"] == serde_json::json!(got.reason);
            if !same {
                wrong.push(format!(
                    "{} at leeway {leeway_s}: wanted {expect}, got {got:?}",
                    vector["id"]
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_secrets_grammar_is_better_auths() {
    for case in vectors()["secrets_env"].as_array().unwrap() {
        let env = case["env"].as_str().unwrap();
        if env.is_empty() {
            assert!(
                Secrets::from_env(|name| (name == "BETTER_AUTH_SECRETS").then(String::new))
                    .unwrap()
                    .is_empty()
            );
            continue;
        }
        match (parse_list(env), case["result"].as_array()) {
            (Ok(got), Some(expected)) => {
                let expected: Vec<(u64, String)> = expected
                    .iter()
                    .map(|e| {
                        (
                            e["version"].as_u64().unwrap(),
                            e["value"].as_str().unwrap().to_owned(),
                        )
                    })
                    .collect();
                assert_eq!(got, expected, "{env}");
            }
            (Err(_), None) => {}
            (got, expected) => panic!("{env}: wanted {expected:?}, got {got:?}"),
        }
    }
}

#[test]
fn origins_are_compared_as_whole_strings() {
    for case in vectors()["origin_cases"].as_array().unwrap() {
        let allow = case["allow"]
            .as_array()
            .unwrap()
            .iter()
            .map(|o| o.as_str().unwrap().to_owned());
        let origins = Origins::new(allow).unwrap();
        let got = origins
            .check(case["origin"].as_str().map(str::as_bytes), None)
            .is_ok();
        match &case["allowed"] {
            Value::Bool(expected) => assert_eq!(got, *expected, "{case}"),
            // A cookie without an origin; or a spelling that no browser sends.
            _ if case["origin"].is_null() => assert!(!got),
            _ => {}
        }
    }
}

fn with_keys(set: &str, settings: BetterAuthConfig, vector: &str, now: i64, cookie: bool) -> Inspection {
    let file = vectors();
    let vector = file["vectors"]
        .as_array()
        .unwrap()
        .iter()
        .find(|v| v["id"] == vector)
        .unwrap()
        .clone();
    let token = vector["token"].as_str().unwrap();
    let subject = if cookie {
        Subject::Cookies(vec![format!("better-auth.session_data={token}").into_bytes()])
    } else {
        Subject::Token(token.to_owned())
    };
    let keys = Some(KeySource::from_text(&file["jwks"][set].to_string()).unwrap());
    Inspector {
        settings,
        secrets: Ok(Secrets::default()),
        keys,
        origin: None,
    }
    .inspect(subject, now)
}

#[test]
fn the_signed_session_cache_passes_with_its_key_set_and_no_other() {
    let id = "ba-asymmetric-cookie-cache-no-jwks";
    let now = 1_795_405_360;
    for cookie in [false, true] {
        let got = with_keys("asymmetric", BetterAuthConfig::default(), id, now, cookie);
        assert_eq!(
            (got.verdict, got.user_id.as_deref()),
            ("accept", Some("ZyiXtyYVSSdoLOoDTD9HJdYcTy2CJA2C")),
            "{got:?}"
        );
    }
    let other = with_keys("plugins", BetterAuthConfig::default(), id, now, false);
    assert_eq!(other.reason, Some("unknown_key"));
    let elsewhere = BetterAuthConfig {
        issuer: Some("https://elsewhere.example".to_owned()),
        ..BetterAuthConfig::default()
    };
    assert_eq!(
        with_keys("asymmetric", elsewhere, id, now, false).reason,
        Some("wrong_issuer")
    );
    assert_eq!(
        with_keys("asymmetric", BetterAuthConfig::default(), id, now + 3600, false).reason,
        Some("expired")
    );
}

#[test]
fn trap_a_key_sets_public_key_is_no_hmac_key() {
    let got = with_keys(
        "asymmetric",
        BetterAuthConfig::default(),
        "alg-confusion-public-key-as-hmac",
        1_795_405_360,
        false,
    );
    assert_eq!(got.reason, Some("alg_not_allowed"));
}
