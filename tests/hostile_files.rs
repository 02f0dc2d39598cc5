//! Posted files that were made to take the server down: each costs its own sender alone. A live stream goes on, the slot is
//! free again, and the client is told what is wrong.

mod common;
mod crafted;

use common::{Client, FRAME, PATH, Server, eventually};
use moshi_server::protocol::server::ServerMsg;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// Little memory and time, so that the tests are done soon.
const LIMITS: &str = "public_metrics = true\n---\n\
    [limits]\nmax_files = 1\nmax_file_memory_bytes = 134217728\nmax_file_cpu_s = 1";

/// A server with a live stream on it.
struct Scene {
    server: Server,
    live: Client,
}

impl Scene {
    async fn new() -> Self {
        let server = Server::start("batch_size = 2", LIMITS).await;
        let mut live = server.connect("").await;
        assert_eq!(live.hear().await, ServerMsg::Ready);
        Self { server, live }
    }

    /// Posts `file` while the live stream goes on, and checks how its decoder ended and what the client was told.
    async fn refuses(&mut self, name: &str, file: &[u8], end: &str, words: &str) {
        let before = self.ended(end).await;
        let ((status, said), ()) = tokio::join!(post(&self.server, file), hears(&mut self.live));
        assert_eq!(status, 422, "{name}: {said}");
        assert!(said.contains(words), "{name}: {said}");
        eventually(async || self.ended(end).await == before + 1).await;
        hears(&mut self.live).await;
        self.serves().await;
    }

    /// Another file has its slot.
    async fn serves(&self) {
        let good = include_bytes!("audio/tone.opus");
        eventually(async || self.server.request("POST", PATH, good).await.0 == 200).await;
        let panics = self.metric("moshi_process_panics_total").await;
        assert_eq!(panics, 0, "a file is no defect of the server");
    }

    async fn ended(&self, end: &str) -> u64 {
        self.metric(&format!("moshi_file_decodings_total{{end=\"{end}\"}}"))
            .await
    }

    async fn metric(&self, name: &str) -> u64 {
        let (_, text) = self.server.request("GET", "/metrics", b"").await;
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("no {name}"))
            .trim()
            .parse()
            .unwrap()
    }
}

/// The status and text of the answer to `file`, however long the little processor time that it may take lasts on a busy machine.
async fn post(server: &Server, file: &[u8]) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        file.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    // A refusal may come before the body is taken.
    let _ = stream.write_all(file).await;
    let mut answer = String::new();
    let _ = stream.read_to_string(&mut answer).await;
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, answer)
}

/// The live stream is heard.
async fn hears(live: &mut Client) {
    live.say("abc", FRAME).await;
    live.silence(10).await;
    loop {
        if let ServerMsg::Word { text, .. } = live.hear().await {
            assert_eq!(text, "abc");
            return;
        }
    }
}

#[tokio::test]
async fn a_vorbis_file_of_kilobytes_that_unpacks_to_gigabytes() {
    let mut scene = Scene::new().await;
    let file = crafted::vorbis_codebooks(64);
    assert!(file.len() < 2_000);
    scene
        .refuses("codebooks", &file, "memory", "128 MiB of memory")
        .await;
}

#[tokio::test]
async fn mp4_fragments_of_billions_of_samples_without_a_byte() {
    let mut scene = Scene::new().await;
    let file = crafted::mp4_empty_samples(1);
    scene
        .refuses("one run", &file, "time", "no audio in 1 s of work")
        .await;
    let file = crafted::mp4_empty_samples(6);
    scene
        .refuses("six runs", &file, "time", "no audio in 1 s of work")
        .await;
}

#[tokio::test]
async fn mp4_fragments_that_take_the_square_of_their_length() {
    let mut scene = Scene::new().await;
    let file = crafted::mp4_durations(1_600_000);
    scene
        .refuses("durations", &file, "time", "no audio in 1 s of work")
        .await;
}

#[tokio::test]
async fn flac_comments_that_take_many_times_their_length() {
    let mut scene = Scene::new().await;
    let file = crafted::flac_tags(3);
    scene.refuses("tags", &file, "memory", "128 MiB of memory").await;
}

#[tokio::test]
async fn files_that_make_the_decoder_panic() {
    let mut scene = Scene::new().await;
    for (name, file) in [("vorbis", crafted::vorbis_panic()), ("mp4", crafted::mp4_panic())] {
        scene
            .refuses(name, &file, "panicked", "the file is damaged")
            .await;
    }
}

#[tokio::test]
async fn a_client_that_leaves_a_file_that_takes_for_ever_frees_its_slot() {
    let limits = LIMITS.replace("max_file_cpu_s = 1", "max_file_cpu_s = 3600");
    let server = Server::start("batch_size = 2", &limits).await;
    let live = server.connect("").await;
    let scene = Scene { server, live };
    let file = crafted::mp4_empty_samples(6);
    let mut stream = TcpStream::connect(scene.server.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
        file.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&file).await.unwrap();
    eventually(async || scene.metric("moshi_file_decoders").await == 1).await;
    drop(stream);
    eventually(async || scene.ended("killed").await == 1).await;
    scene.serves().await;
}

#[tokio::test]
async fn a_tag_of_two_hundred_megabytes_and_no_audio() {
    let scene = Scene::new().await;
    let size = 200_000_000;
    let mut stream = TcpStream::connect(scene.server.address).await.unwrap();
    let head = format!(
        "POST {PATH} HTTP/1.1\r\nhost: test\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        size + 10
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&crafted::id3_head(size)).await.unwrap();
    let (mut read, mut write) = stream.into_split();
    let sending = tokio::spawn(async move {
        let piece = vec![0; 100_000];
        for _ in 0..size / 100_000 {
            // The answer may come first.
            if write.write_all(&piece).await.is_err() {
                break;
            }
        }
        write
    });
    let mut answer = String::new();
    let _ = read.read_to_string(&mut answer).await;
    drop(sending.await);
    assert!(answer.starts_with("HTTP/1.1 422"), "{answer}");
    scene.serves().await;
}
