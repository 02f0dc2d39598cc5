//! The commands, run as a user runs them.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use crate::common::http;
use moshi_server::audio::pcm;
use moshi_server::model::scripted;

fn moshi(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_moshi-server"))
        .args(args)
        .output()
        .expect("the program runs")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port()
}

/// A worker with a scripted model. Ends with its owner.
struct Worker {
    process: Child,
    url: String,
}

impl Worker {
    fn start(dir: &Path) -> Self {
        Self::start_with(dir, "")
    }

    /// The same, with more keys for its module.
    fn start_with(dir: &Path, keys: &str) -> Self {
        Self::start_under(dir, "", keys)
    }

    /// The same, with keys for the whole server in front.
    fn start_under(dir: &Path, head: &str, keys: &str) -> Self {
        let config = dir.join("scripted.toml");
        let server = "[server]\nadmin_addr = \"\"\n[modules.asr]\n";
        let module = "type = \"Scripted\"\npath = \"/api/asr-streaming\"\nbatch_size = 4\n";
        std::fs::write(&config, format!("{head}{server}{module}{keys}")).unwrap();
        let port = free_port().to_string();
        let process = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .args(["worker", "--port", &port, "--silent", "--config"])
            .arg(&config)
            .spawn()
            .unwrap();
        let started = Instant::now();
        while http()
            .get(&format!("http://127.0.0.1:{port}/readyz"))
            .call()
            .is_err()
        {
            assert!(
                started.elapsed() < Duration::from_secs(60),
                "the worker is not ready"
            );
            std::thread::sleep(Duration::from_millis(20));
        }
        Self {
            process,
            url: format!("ws://127.0.0.1:{port}"),
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A 24 kHz wav in which the scripted model hears `words`: a loud frame starts a word, each further one is a letter.
fn spoken(words: &[&str]) -> Vec<u8> {
    let mut samples = vec![0.0; 1920 * 2];
    for word in words {
        let letters = word
            .bytes()
            .map(|letter| scripted::level(usize::from(letter - b'a')));
        for level in std::iter::once(0.5).chain(letters) {
            samples.extend([level; 1920]);
        }
        samples.extend([0.0; 1920 * 3]);
    }
    let data: Vec<u8> = pcm::to_i16_bytes(&samples).collect();
    let mut wav = b"RIFF".to_vec();
    wav.extend((36 + data.len() as u32).to_le_bytes());
    wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0");
    wav.extend(24_000u32.to_le_bytes());
    wav.extend(48_000u32.to_le_bytes());
    wav.extend(b"\x02\0\x10\0data");
    wav.extend((data.len() as u32).to_le_bytes());
    wav.extend(data);
    wav
}

#[test]
fn configurations_are_listed_and_printed_whole() {
    let list = text(&moshi(&["configs"]).stdout);
    for name in [
        "config-stt-demo.toml",
        "config-stt-en_fr-hf.toml",
        "config-stt-en-hf.toml",
    ] {
        assert!(list.contains(name), "{list}");
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs").join(name);
        assert_eq!(
            text(&moshi(&["configs", name]).stdout),
            std::fs::read_to_string(file).unwrap()
        );
    }
    let unknown = moshi(&["configs", "nope"]);
    assert!(!unknown.status.success());
    assert!(text(&unknown.stderr).contains("config-stt-demo.toml"));
}

#[test]
fn validate_tells_good_from_bad() {
    let dir = tempfile::tempdir().unwrap();
    let bad = dir.path().join("bad.toml");
    std::fs::write(&bad, "[modules.a]\ntype = \"Py\"\n[limits]\nping_s = \"x\"\n").unwrap();
    let output = moshi(&["validate", bad.to_str().unwrap()]);
    assert!(!output.status.success());
    let report = text(&output.stdout);
    assert!(
        report.contains("bad.toml:2: modules.a.type") && report.contains("bad.toml:4: limits.ping_s"),
        "{report}"
    );
    let good = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/config-stt-demo.toml");
    let output = moshi(&["validate", good]);
    assert!(output.status.success(), "{}", text(&output.stdout));
}

#[test]
fn validate_warns_of_operators_routes_that_nobody_can_use() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("away.toml");
    let module = "[modules.a]\ntype = \"Scripted\"\npath = \"/api/a\"\n";
    for (address, warned) in [
        ("0.0.0.0:9464", true),
        ("127.0.0.1:9464", false),
        ("[::1]:9464", false),
    ] {
        std::fs::write(&file, format!("[server]\nadmin_addr = \"{address}\"\n{module}")).unwrap();
        let report = text(&moshi(&["validate", file.to_str().unwrap()]).stdout);
        assert_eq!(
            report.contains("away.toml:2: server.admin_addr"),
            warned,
            "{report}"
        );
        assert_eq!(report.contains("--scope admin"), warned, "{report}");
    }
}

#[test]
fn a_file_becomes_a_transcript_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path());
    let file = dir.path().join("spoken.wav");
    std::fs::write(&file, spoken(&["abc", "pack"])).unwrap();
    let file = file.to_str().unwrap();
    let transcribe = |args: &[&str]| {
        let output = moshi(&[&["transcribe", "--url", &worker.url], args].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output.stderr));
        (text(&output.stdout), text(&output.stderr))
    };
    let (words, report) = transcribe(&[file]);
    assert_eq!(words.split_whitespace().collect::<Vec<_>>(), ["abc", "pack"]);
    assert!(report.contains("2 words in"), "{report}");
    let (srt, _) = transcribe(&[file, "--format", "srt"]);
    assert!(srt.starts_with("1\n00:00:00,"), "{srt}");
    let (vtt, _) = transcribe(&[file, "--format", "vtt"]);
    assert!(vtt.starts_with("WEBVTT\n\n00:00:00."), "{vtt}");
    let (json, quiet) = transcribe(&[file, "--format", "json", "--quiet"]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["words"][1]["text"], "pack");
    assert_eq!(quiet, "");
    let (classic, _) = transcribe(&[file, "--classic"]);
    assert_eq!(classic, words, "Kyutai's protocol gives the same words");
    let (_, paced) = transcribe(&[file, "--rtf", "1"]);
    assert!(
        paced.contains("from the start of a spoken word to its text: median"),
        "{paced}"
    );
}

#[test]
fn standard_input_is_a_file_too() {
    let dir = tempfile::tempdir().unwrap();
    let worker = Worker::start(dir.path());
    let mut process = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
        .args(["transcribe", "-", "--url", &worker.url])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    process
        .stdin
        .take()
        .unwrap()
        .write_all(&spoken(&["gab"]))
        .unwrap();
    let output = process.wait_with_output().unwrap();
    assert_eq!(text(&output.stdout), "gab\n");
}

#[test]
fn what_cannot_work_is_explained() {
    let port = free_port();
    let tone = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/audio/tone.wav");
    let output = moshi(&["transcribe", tone, "--url", &format!("ws://127.0.0.1:{port}")]);
    assert!(!output.status.success());
    assert!(
        text(&output.stderr).contains("cannot connect to 127.0.0.1"),
        "{}",
        text(&output.stderr)
    );
    let output = moshi(&["transcribe", "/no/such/file.wav"]);
    assert!(
        text(&output.stderr).contains("cannot open /no/such/file.wav"),
        "{}",
        text(&output.stderr)
    );
    let output = moshi(&["transcribe", env!("CARGO_MANIFEST_PATH")]);
    assert!(
        text(&output.stderr).contains("not an audio file"),
        "{}",
        text(&output.stderr)
    );
}

#[test]
fn a_failed_engine_ends_the_program_with_70_and_a_signal_with_0() {
    let dir = tempfile::tempdir().unwrap();
    let mut failing = Worker::start_with(dir.path(), "fail_after_steps = 1\n");
    let wav = dir.path().join("words.wav");
    std::fs::write(&wav, spoken(&["abc"])).unwrap();
    let output = moshi(&["transcribe", wav.to_str().unwrap(), "--url", &failing.url]);
    assert!(!output.status.success(), "a transcript of a failed engine");
    assert_eq!(failing.process.wait().unwrap().code(), Some(70));

    let mut idle = Worker::start(dir.path());
    signal("-TERM", &idle.process);
    assert_eq!(idle.process.wait().unwrap().code(), Some(0));
}

fn signal(name: &str, process: &Child) {
    let pid = process.id().to_string();
    assert!(
        Command::new("kill")
            .args([name, &pid])
            .status()
            .unwrap()
            .success()
    );
}

#[test]
fn the_second_signal_ends_what_the_first_waits_for() {
    let dir = tempfile::tempdir().unwrap();
    let mut worker = Worker::start_with(dir.path(), "[limits]\ndrain_s = 600\n");
    let port = worker.url.rsplit(':').next().unwrap().to_owned();
    let mut client = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
    let head = "GET /api/asr-streaming HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
                sec-websocket-version: 13\r\nsec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    client.write_all(head.as_bytes()).unwrap();
    let mut answer = [0; 12];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");
    signal("-TERM", &worker.process);
    let url = format!("http://127.0.0.1:{port}/readyz");
    while http().get(&url).call().is_ok() {
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(worker.process.try_wait().unwrap().is_none(), "a session is open");
    signal("-INT", &worker.process);
    assert_eq!(worker.process.wait().unwrap().code(), Some(0));
}

#[test]
fn the_page_is_no_answer_to_what_is_not_there() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("index.html"), "the page").unwrap();
    let dir_name = dir.path().display();
    let worker = Worker::start_under(dir.path(), &format!("static_dir = \"{dir_name}\"\n"), "");
    let url = worker.url.replace("ws:", "http:");
    for path in ["/", "/settings", "/some/where"] {
        let mut page = http().get(&format!("{url}{path}")).call().unwrap();
        assert_eq!(page.body_mut().read_to_string().unwrap(), "the page", "{path}");
    }
    for path in ["/api/typo", "/metrics", "/assets/nothing.js"] {
        let error = http().get(&format!("{url}{path}")).call().unwrap_err();
        assert!(matches!(error, ureq::Error::StatusCode(404)), "{path}");
    }
}

#[test]
fn the_demo_hears_words_in_its_sample_and_takes_its_server_with_it() {
    let output = moshi(&["demo", "--exit", "--port", &free_port().to_string()]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(
        text(&output.stdout).split_whitespace().count() >= 3,
        "{}",
        text(&output.stdout)
    );
    assert!(text(&output.stderr).contains("from the start of a spoken word to its text: median"));

    // However it ends.
    let port = free_port().to_string();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
        .args(["demo", "--port", &port])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let ready = || {
        http()
            .get(&format!("http://127.0.0.1:{port}/readyz"))
            .call()
            .is_ok()
    };
    let started = Instant::now();
    while !ready() {
        assert!(
            started.elapsed() < Duration::from_secs(60),
            "the demo is not ready"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    demo.kill().unwrap();
    demo.wait().unwrap();
    while TcpStream::connect(format!("127.0.0.1:{port}")).is_ok() {
        assert!(started.elapsed() < Duration::from_secs(90), "the server lives on");
        std::thread::sleep(Duration::from_millis(20));
    }
}
