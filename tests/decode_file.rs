//! The process that decodes a posted file: what it is given, what it says, and that it ends with its server.

mod crafted;

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

const PROGRAM: &str = env!("CARGO_BIN_EXE_moshi-server");

fn decode(file: &[u8], dir: &str) -> Output {
    let mut child = Command::new(PROGRAM)
        .args(["decode-file", "--memory=134217728", "--file=10000000", "--cpu=10"])
        .env_clear()
        .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
        .env("TMPDIR", dir)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It may end before it has read all.
    let _ = child.stdin.take().unwrap().write_all(file);
    child.wait_with_output().unwrap()
}

#[test]
fn samples_come_out_and_words_where_there_are_none() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path().to_str().unwrap();
    let good = decode(include_bytes!("audio/tone.wav"), dir);
    assert_eq!((good.status.code(), good.stdout.len()), (Some(0), 4 * 36_000));
    let bad = decode(b"no audio", dir);
    assert_eq!(bad.status.code(), Some(65));
    assert!(String::from_utf8_lossy(&bad.stderr).starts_with("not an audio file of a known kind"));
    let broken = decode(&crafted::vorbis_panic(), dir);
    assert_eq!(
        (broken.status.code(), broken.stderr.len()),
        (Some(70), 0),
        "a panic's words stay inside"
    );
    let homeless = decode(include_bytes!("audio/tone.wav"), "/nonexistent");
    assert_eq!(homeless.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&homeless.stderr).starts_with("no temporary file for the upload"));
}

/// Processes whose parent is `parent`.
fn children(parent: u32) -> Vec<u32> {
    let of = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let stat = fs::read_to_string(entry.path().join("stat")).ok()?;
        // Behind the name in parentheses: state and parent.
        let mut fields = stat[stat.rfind(')')? + 1..].split_ascii_whitespace();
        (fields.nth(1)?.parse() == Ok(parent)).then_some(pid)
    };
    fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| of(entry.unwrap()))
        .collect()
}

fn eventually(what: &str, condition: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !condition() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn it_knows_no_secrets_and_ends_with_its_server() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let text = "[server]\nport = 0\nadmin_addr = \"\"\n[limits]\nmax_file_cpu_s = 3600\n\
                [modules.asr]\ntype = \"Scripted\"\npath = \"/asr\"\n";
    fs::write(&config, text).unwrap();
    let mut server = Command::new(PROGRAM)
        .arg("worker")
        .arg("--config")
        .arg(&config)
        .env("MOSHI_API_KEY", "a-long-enough-secret-key")
        .env("NO_COLOR", "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let address = BufReader::new(server.stdout.take().unwrap())
        .lines()
        .find_map(|line| {
            Some(
                line.unwrap()
                    .split_once(" address=")?
                    .1
                    .split(' ')
                    .next()?
                    .to_owned(),
            )
        })
        .unwrap();
    let file = crafted::mp4_empty_samples(6);
    let mut upload = TcpStream::connect(address).unwrap();
    let head = format!(
        "POST /asr HTTP/1.1\r\nhost: test\r\nkyutai-api-key: a-long-enough-secret-key\r\ncontent-length: {}\r\n\r\n",
        file.len()
    );
    upload.write_all(head.as_bytes()).unwrap();
    upload.write_all(&file).unwrap();
    eventually("there is a decoder", || !children(server.id()).is_empty());
    let decoder = children(server.id())[0];
    let limits = || fs::read_to_string(format!("/proc/{decoder}/limits")).unwrap_or_default();
    let is_confined = || {
        limits()
            .lines()
            .any(|line| line.starts_with("Max data size") && line.contains("536870912"))
    };
    eventually("it is confined", is_confined);
    let environment = fs::read(format!("/proc/{decoder}/environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(!environment.contains("secret"), "{environment}");
    let status = fs::read_to_string(format!("/proc/{decoder}/status")).unwrap();
    assert!(status.contains("NoNewPrivs:\t1"), "{status}");
    // Standard streams and the spool; no connection and no file of the server's.
    eventually("it has no descriptors but its own", || {
        fs::read_dir(format!("/proc/{decoder}/fd")).unwrap().count() <= 5
    });
    for fd in fs::read_dir(format!("/proc/{decoder}/fd")).unwrap() {
        let target = fs::read_link(fd.unwrap().path()).unwrap_or_default();
        assert!(!target.to_string_lossy().contains("socket"), "{target:?}");
    }
    // As an operator or the system would, without a word.
    server.kill().unwrap();
    server.wait().unwrap();
    let gone =
        || fs::read_to_string(format!("/proc/{decoder}/stat")).map_or(true, |stat| stat.contains(") Z "));
    eventually("it ends with its server", gone);
}
