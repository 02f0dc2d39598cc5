use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use parking_lot::Mutex;

use super::*;

const BODY: &[u8] = b"weights of a very small model";
const BODY_SHA256: &str = "7b7c7c53f1a7be66b2dc5f4e9f46c2b8a1d5f1c7f3f4b4a7c9c3d1e5a7b9c0d1";

/// A hub with one public file, one gated file and one damaged file. Keeps the requests it got.
struct FakeHub {
    endpoint: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl FakeHub {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let _ = serve(stream.unwrap(), &seen);
            }
        });
        Self { endpoint, requests }
    }

    fn hub(&self, cache: &Path, offline: bool) -> Hub {
        Hub::new(Source {
            endpoint: self.endpoint.clone(),
            cache: cache.to_owned(),
            token: Some("secret".to_owned()),
            offline,
            progress: false,
        })
    }
}

/// Answers one request as the hub does: metadata in headers, the body by range.
fn serve(mut stream: TcpStream, seen: &Mutex<Vec<String>>) -> std::io::Result<()> {
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while reader.read_line(&mut request)? > 2 {}
    let lower = request.to_lowercase();
    seen.lock().push(lower.clone());
    let path = request.split(' ').nth(1).unwrap_or_default();
    let etag = match path {
        "/org/repo/resolve/main/dir/file.bin" => sha256(BODY),
        "/org/repo/resolve/main/damaged.bin" => BODY_SHA256.to_owned(),
        "/org/gated/resolve/main/file.bin" => {
            return write!(
                stream,
                "HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
        _ => {
            return write!(
                stream,
                "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
            );
        }
    };
    let range = lower
        .lines()
        .find_map(|line| line.strip_prefix("range: bytes="))
        .unwrap_or("0-");
    let (from, to) = range.trim().split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to: usize = to.parse().map_or(BODY.len(), |to: usize| to + 1);
    write!(
        stream,
        "HTTP/1.1 206 Partial Content\r\nETag: \"{etag}\"\r\nX-Repo-Commit: abc123\r\nContent-Range: bytes {from}-{}/{}\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        to - 1,
        BODY.len(),
        to - from
    )?;
    stream.write_all(&BODY[from..to])
}

fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[test]
fn a_file_is_fetched_once_and_then_comes_from_the_cache() {
    let (server, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let name = "hf://org/repo/dir/file.bin";
    let path = server.hub(cache.path(), false).find(name).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), BODY);
    let asked = server.requests.lock().len();
    assert!(
        server
            .requests
            .lock()
            .iter()
            .all(|request| request.contains("authorization: bearer secret"))
    );
    assert_eq!(server.hub(cache.path(), false).find(name).unwrap(), path);
    assert_eq!(server.hub(cache.path(), true).find(name).unwrap(), path);
    assert_eq!(server.requests.lock().len(), asked, "the cache needs no request");
}

#[test]
fn offline_fetches_nothing() {
    let (server, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let error = server
        .hub(cache.path(), true)
        .find("hf://org/repo/dir/file.bin")
        .unwrap_err();
    assert!(matches!(error, HubError::Offline(..)), "{error}");
    assert!(server.requests.lock().is_empty());
}

#[test]
fn each_refusal_tells_what_to_do() {
    let (server, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let hub = server.hub(cache.path(), false);
    let error = hub.find("hf://org/gated/file.bin").unwrap_err();
    assert!(matches!(error, HubError::Refused { status: 403, .. }), "{error}");
    assert!(!error.to_string().contains("secret"));
    let error = hub.find("hf://org/repo/none.bin").unwrap_err();
    assert!(matches!(error, HubError::Unknown(_)), "{error}");
    let error = hub.find("/no/such/file").unwrap_err();
    assert!(matches!(error, HubError::Missing(_)), "{error}");
    for name in [
        "hf://org",
        "hf://org/repo",
        "hf://org/repo/",
        "hf://org/../file",
        "hf:///repo/file",
    ] {
        assert!(matches!(hub.find(name), Err(HubError::Name(_))), "{name}");
    }
}

#[test]
fn an_unreachable_hub_is_named() {
    let cache = tempfile::tempdir().unwrap();
    // A port that was free a moment ago and has no listener.
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let source = Source {
        endpoint: format!("http://127.0.0.1:{port}"),
        cache: cache.path().to_owned(),
        token: None,
        offline: false,
        progress: false,
    };
    let error = Hub::new(source).find("hf://org/repo/dir/file.bin").unwrap_err();
    assert!(matches!(error, HubError::Unreachable { .. }), "{error}");
}

#[test]
fn a_damaged_file_does_not_stay_in_the_cache() {
    let (server, cache) = (FakeHub::start(), tempfile::tempdir().unwrap());
    let hub = server.hub(cache.path(), false);
    let name = "hf://org/repo/damaged.bin";
    assert!(matches!(hub.find(name), Err(HubError::Damaged(_))));
    assert!(hub.local(name).unwrap().is_none());
}
