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

/// A server of one file, told what to answer to each path and range.
struct Site {
    address: String,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    /// `answer` gets the head of a request, in lower case, and its number.
    fn start(answer: impl Fn(&str, usize) -> Vec<u8> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = requests.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut head = String::new();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                while reader.read_line(&mut head).is_ok_and(|length| length > 2) {}
                let head = head.to_lowercase();
                let number = seen.lock().len();
                seen.lock().push(head.clone());
                let _ = stream.write_all(&answer(&head, number));
            }
        });
        Self { address, requests }
    }

    fn find(&self, cache: &Path) -> Result<PathBuf, HubError> {
        let source = Source {
            endpoint: format!("{}/", self.address),
            cache: cache.to_owned(),
            token: Some("secret".to_owned()),
            offline: false,
            progress: false,
        };
        Hub::new(source).find("hf://org/repo/dir/file.bin")
    }

    /// How many requests came, and how many of them showed a token.
    fn asked(&self) -> (usize, usize) {
        let requests = self.requests.lock();
        let shown = requests.iter().filter(|head| head.contains("authorization"));
        (requests.len(), shown.count())
    }
}

fn redirect(status: u16, to: &str, facts: &str) -> Vec<u8> {
    format!(
        "HTTP/1.1 {status} There\r\nLocation: {to}\r\n{facts}Content-Length: 0\r\nConnection: close\r\n\r\n"
    )
    .into_bytes()
}

fn facts() -> String {
    format!("ETag: \"{}\"\r\nX-Repo-Commit: abc123\r\n", sha256(BODY))
}

/// The part of the file that `head` asks for, of which at most `most` bytes come.
fn part(head: &str, facts: &str, most: usize) -> Vec<u8> {
    let range = head.lines().find_map(|line| line.strip_prefix("range: bytes="));
    let (from, to) = range.unwrap().split_once('-').unwrap();
    let from: usize = from.parse().unwrap();
    let to: usize = to.parse().map_or(BODY.len(), |to: usize| to + 1);
    let mut out = format!(
        "HTTP/1.1 206 Partial Content\r\n{facts}Content-Range: bytes {from}-{}/{}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        to - 1,
        BODY.len(),
        to - from
    )
    .into_bytes();
    out.extend_from_slice(&BODY[from..to.min(from + most)]);
    out
}

const UNAUTHORIZED: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn the_token_is_never_shown_to_the_place_that_the_hub_keeps_its_files_at() {
    let place = Site::start(|head, _| part(head, "", BODY.len()));
    let there = format!("{}/blobs/1", place.address);
    let hub = Site::start(move |_, _| redirect(302, &there, &facts()));
    let cache = tempfile::tempdir().unwrap();
    let path = hub.find(cache.path()).unwrap();
    assert_eq!(std::fs::read(path).unwrap(), BODY);
    assert_eq!(place.asked(), (1, 0));
    assert_eq!(hub.asked(), (2, 2));
}

#[test]
fn a_mirror_that_sends_everything_on_is_followed_without_the_token() {
    let other = Site::start(|head, _| part(head, &facts(), BODY.len()));
    let there = format!("{}/org/repo/resolve/main/dir/file.bin", other.address);
    let mirror = Site::start(move |_, _| redirect(308, &there, ""));
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(std::fs::read(mirror.find(cache.path()).unwrap()).unwrap(), BODY);
    assert_eq!(other.asked(), (2, 0));
}

#[test]
fn a_mirror_that_sends_on_to_where_a_token_is_wanted_is_named_with_that_place() {
    let other = Site::start(|_, _| UNAUTHORIZED.to_vec());
    let there = format!("{}/org/repo/resolve/main/dir/file.bin", other.address);
    let mirror = Site::start(move |_, _| redirect(308, &there, ""));
    let cache = tempfile::tempdir().unwrap();
    let error = mirror.find(cache.path()).unwrap_err().to_string();
    assert!(
        error.contains(&mirror.address) && error.contains("401"),
        "{error}"
    );
    assert!(
        error.contains(&format!("HF_ENDPOINT={}", other.address)),
        "{error}"
    );
    assert_eq!(other.asked().1, 0);
}

#[test]
fn a_redirect_within_the_hub_keeps_the_token() {
    let hub = Site::start(|head, _| {
        if head.starts_with("get /new/") {
            part(head, &facts(), BODY.len())
        } else {
            redirect(307, "/new/repo/resolve/main/dir/file.bin", "")
        }
    });
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(std::fs::read(hub.find(cache.path()).unwrap()).unwrap(), BODY);
    assert_eq!(hub.asked(), (4, 4));
}

#[test]
fn a_transfer_that_breaks_off_goes_on_where_it_stopped() {
    let hub = Site::start(|head, number| part(head, &facts(), if number < 3 { 10 } else { BODY.len() }));
    let cache = tempfile::tempdir().unwrap();
    assert_eq!(std::fs::read(hub.find(cache.path()).unwrap()).unwrap(), BODY);
    let requests = hub.requests.lock();
    assert!(requests[1].contains("range: bytes=0-") && requests[2].contains("range: bytes=10-"));
    assert!(requests[3].contains("range: bytes=20-") && requests.len() == 4);
}

#[test]
fn what_is_no_hub_is_told_apart_and_names_no_file_of_the_cache() {
    for facts in [
        "",
        "ETag: \"../../up\"\r\nX-Repo-Commit: abc\r\n",
        "ETag: \"a\"\r\nX-Repo-Commit: ..\r\n",
    ] {
        let site = Site::start(move |head, _| part(head, facts, BODY.len()));
        let cache = tempfile::tempdir().unwrap();
        let error = site.find(cache.path()).unwrap_err();
        assert!(matches!(error, HubError::NoHub { .. }), "{facts}: {error}");
        assert!(error.to_string().contains("HF_ENDPOINT"), "{error}");
        assert_eq!(std::fs::read_dir(cache.path()).unwrap().count(), 0);
    }
}

#[test]
fn an_address_of_the_hub_that_is_no_url_is_named() {
    let source = Source {
        endpoint: "huggingface.co".to_owned(),
        cache: tempfile::tempdir().unwrap().path().to_owned(),
        token: None,
        offline: false,
        progress: false,
    };
    let error = Hub::new(source).find("hf://org/repo/file").unwrap_err();
    assert!(matches!(error, HubError::Endpoint(_)), "{error}");
}
