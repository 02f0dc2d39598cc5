use moshi_server::auth::Principal;

fn forge(other: Principal) -> Principal {
    Principal {
        subject: "user:root".into(),
        ..other
    }
}

fn main() {}
