//! DNS rebinding: a page of a foreign site whose name was pointed at this machine is of the same origin to the browser. Its
//! requests still carry that name as `Host`. So listeners that ask for no credentials answer to names that nobody can point
//! here from outside, and to those that the operator lists.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::log_limit::LogLimit;
use super::refusal::Refusal;

/// Names besides IP addresses and `localhost`: hosts, with their ports, of `allowed_origins`.
pub(super) struct Hosts(Vec<String>);

impl Hosts {
    pub(super) fn new(allowed_origins: &[String]) -> Self {
        let hosts = allowed_origins
            .iter()
            .filter_map(|origin| origin.split_once("://"));
        Self(hosts.map(|(_, host)| host.to_ascii_lowercase()).collect())
    }

    fn allows(&self, host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        let name = host
            .rsplit_once(':')
            .filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()))
            .map_or(&*host, |(name, _)| name);
        let name = name.strip_suffix('.').unwrap_or(name);
        name == "localhost"
            || name.ends_with(".localhost")
            || name.parse::<IpAddr>().is_ok()
            // An IPv6 address stands in brackets.
            || format!("{name}:0").parse::<SocketAddr>().is_ok()
            || self.0.contains(&host)
    }
}

/// Answers 421 to requests for another name. Programs may leave `Host` out; browsers never do.
pub(super) async fn check(State(hosts): State<Arc<Hosts>>, request: Request, next: Next) -> Response {
    static LINES: LogLimit = LogLimit::new();
    let mut names = request.headers().get_all(header::HOST).iter();
    if names.all(|name| name.to_str().is_ok_and(|name| hosts.allows(name))) {
        return next.run(request).await;
    }
    if LINES.allows(Instant::now()) {
        tracing::warn!(
            "a request for a name that is neither localhost nor in server.allowed_origins was refused"
        );
    }
    let message = "this server asks for no credentials, so it answers to localhost and to IP addresses; for another name list its \
                   origin in server.allowed_origins";
    Refusal::new(StatusCode::MISDIRECTED_REQUEST, message).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_can_be_pointed_here_from_outside_must_be_listed() {
        let hosts = Hosts::new(&[
            "https://App.example".to_owned(),
            "http://lab.example:8080".to_owned(),
        ]);
        for (host, allowed) in [
            ("localhost", true),
            ("localhost:8080", true),
            ("LOCALHOST:8080", true),
            ("app.localhost:8080", true),
            ("localhost.:8080", true),
            ("127.0.0.1:8080", true),
            ("192.0.2.7", true),
            ("[::1]:8080", true),
            ("[::1]", true),
            ("app.example", true),
            ("lab.example:8080", true),
            ("lab.example", false),
            ("app.example:8080", false),
            ("evil.test", false),
            ("evil.test:8080", false),
            ("localhost.evil.test", false),
            ("127.0.0.1.evil.test", false),
            ("evillocalhost", false),
            ("", false),
        ] {
            assert_eq!(hosts.allows(host), allowed, "{host}");
        }
    }
}
