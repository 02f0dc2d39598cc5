//! The command `speak`, as a person runs it.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use moshi_server::audio::ogg_opus::OggOpus;

use crate::common::speech::letters;
use crate::common::{FRAME, PATH, Server};

/// Runs the command with `input` on its standard input, away from the tasks of the server.
async fn speak(server: &Server, args: &[&str], input: &'static str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_moshi-server"));
    command
        .arg("speak")
        .args(["--url", &format!("ws://{}{PATH}", server.address)])
        .args(args)
        .env_remove("MOSHI_API_KEY")
        .env_remove("MOSHI_TOKEN")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let run = move || {
        let mut child = command.spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).unwrap();
        drop(stdin);
        child.wait_with_output().unwrap()
    };
    tokio::task::spawn_blocking(run).await.unwrap()
}

fn samples(wav: &[u8]) -> Vec<f32> {
    let samples = wav[44..].as_chunks::<2>().0.iter();
    samples
        .map(|s| f32::from(i16::from_le_bytes(*s)) / 32_768.0)
        .collect()
}

fn name(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[tokio::test]
async fn a_text_becomes_a_file_of_its_kind() {
    let server = Server::speaking("", "").await;
    let dir = tempfile::tempdir().unwrap();
    let (wav, ogg) = (dir.path().join("a.wav"), dir.path().join("a.ogg"));
    let said = speak(&server, &["mm", "nn", "-o", name(&wav)], "").await;
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(said.status.success(), "{told}");
    assert!(told.contains("mm nn ") && told.contains("2 words"), "{told}");
    assert_eq!(letters(&samples(&std::fs::read(&wav).unwrap())), "mm.nn.");
    let said = speak(&server, &["mm nn", "--quiet", "-o", name(&ogg)], "").await;
    assert!(said.status.success() && said.stderr.is_empty());
    let mut heard = 0;
    OggOpus::default()
        .push(&std::fs::read(&ogg).unwrap(), &mut |samples| {
            heard += samples.len()
        })
        .unwrap();
    assert_eq!(heard, 5 * FRAME);
}

#[tokio::test]
async fn text_from_a_pipe_goes_to_standard_output() {
    let server = Server::speaking("", "").await;
    let said = speak(&server, &["-o", "-"], "mm nn\noo").await;
    assert!(said.status.success());
    assert!(said.stdout.starts_with(b"RIFF"));
    assert_eq!(letters(&samples(&said.stdout)), "mm.nn.oo.");
}

#[tokio::test]
async fn an_unknown_voice_is_told_in_the_servers_words() {
    let server = Server::speaking("", "").await;
    let dir = tempfile::tempdir().unwrap();
    let wav = dir.path().join("a.wav");
    let said = speak(&server, &["mm", "--voice", "nobody", "-o", name(&wav)], "").await;
    let told = String::from_utf8_lossy(&said.stderr).into_owned();
    assert!(!said.status.success());
    assert!(told.contains("there is no voice `nobody`"), "{told}");
}
