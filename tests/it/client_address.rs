//! Failed attempts are counted by the address that the trusted proxy saw, whatever the client writes before it.

use crate::common::Server;

/// The statuses of ten guesses, each with other header lines before those of the proxy.
async fn guesses(lines: impl Fn(usize) -> String) -> Vec<u16> {
    let rest = "trusted_proxies = [\"127.0.0.1\"]\n---[auth]\nfailures_per_minute = 3";
    let server = Server::configured("authorized_ids = [\"the-only-key\"]", "batch_size = 1", rest).await;
    let mut statuses = Vec::new();
    for n in 0..10 {
        let headers = format!("kyutai-api-key: wrong\r\n{}", lines(n));
        statuses.push(
            server
                .request_with(&headers, "GET", "/api/auth-check", b"")
                .await
                .0,
        );
    }
    statuses
}

#[tokio::test]
async fn guesses_of_one_client_are_counted_together() {
    for proxy in [
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-for: 192.0.2.7:4711",
        "x-forwarded-for: [2001:db8::7]:4711",
        "forwarded: for=\"[2001:db8::7]:4711\";proto=https",
    ] {
        let name = proxy.split(':').next().unwrap();
        let forged = |n: usize| {
            let value = if name == "forwarded" { "for=" } else { "" };
            format!("{name}: {value}198.51.100.{n}\r\n{proxy}\r\n")
        };
        let statuses = guesses(forged).await;
        assert_eq!(statuses[..3], [401, 401, 401], "{proxy}");
        assert_eq!(statuses[5..], [429; 5], "{proxy}");
    }
}

#[tokio::test]
async fn clients_of_one_proxy_are_counted_apart() {
    let statuses = guesses(|n| format!("x-forwarded-for: 192.0.2.{n}:4711\r\n")).await;
    assert_eq!(statuses, [401; 10]);
}
