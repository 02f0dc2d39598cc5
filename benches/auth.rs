//! Cost of one authentication, beside the bare library.

use std::hint::black_box;
use std::net::SocketAddr;

use axum::http::Request;
use axum::http::request::Parts;
use criterion::{Criterion, criterion_group, criterion_main};
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use moshi_server::auth::{AuthConfig, Guard, Scope};

/// A cookie captured from a Better Auth server, its secret, and a moment at which it is good.
fn captured() -> (String, String, i64) {
    let file: serde_json::Value =
        serde_json::from_str(include_str!("../tests/better-auth/vectors.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    let vector = vectors.iter().find(|v| v["id"] == "ba-cookie-plain").unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    (
        text(&vector["cookie_headers"][0]),
        text(&file["secrets"]["main"]),
        vector["now"].as_i64().unwrap(),
    )
}

fn parts(name: &str, value: &str) -> Parts {
    let request = Request::builder()
        .uri("/api/asr-streaming")
        .header(name, value)
        .header("origin", "https://app.example");
    request.body(()).unwrap().into_parts().0
}

fn authentication(c: &mut Criterion) {
    let keys: Vec<String> = (0..100).map(|i| format!("a-key-of-some-length-{i:04}")).collect();
    let origins = ["https://app.example".to_owned()];
    let (cookie, secret, now) = captured();
    let token = cookie.rsplit_once("session_data=").unwrap().1;
    let env = |name: &str| (name == "BETTER_AUTH_SECRET").then(|| secret.clone());
    let guard = Guard::from_config(&AuthConfig::default(), &keys, &origins, env).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let peer: SocketAddr = ([203, 0, 113, 1], 1).into();
    let mut group = c.benchmark_group("auth");
    for (name, parts) in [
        (
            "one key of a hundred",
            parts("kyutai-api-key", "a-key-of-some-length-0050"),
        ),
        ("hs256 cookie", parts("cookie", &cookie)),
    ] {
        assert!(
            runtime
                .block_on(guard.check(&parts, peer, Scope::Listen, now))
                .is_ok()
        );
        group.bench_function(name, |b| {
            b.iter(|| runtime.block_on(guard.check(black_box(&parts), peer, Scope::Listen, now)))
        });
    }
    let wrong = parts("kyutai-api-key", "no-such-key-at-all-anywhere");
    group.bench_function("a wrong key", |b| {
        b.iter(|| runtime.block_on(guard.check(black_box(&wrong), peer, Scope::Listen, now)))
    });
    let key = DecodingKey::from_secret(secret.as_bytes());
    let mut validation = Validation::new(Algorithm::HS256);
    // The captured token is of the past.
    validation.validate_exp = false;
    group.bench_function("bare jsonwebtoken", |b| {
        b.iter(|| decode::<serde_json::Value>(black_box(token), &key, &validation).unwrap());
    });
    group.finish();
}

criterion_group!(benches, authentication);
criterion_main!(benches);
