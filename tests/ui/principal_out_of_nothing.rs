use moshi_server::auth::{Method, Principal};

fn forge() -> Principal {
    Principal::new("user:root".into(), Method::ApiKey, [].into())
}

fn main() {}
