//! What comes with the repository: every sample through a worker on the bundled checkpoint, against what was said.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::common::http;
use moshi_server::load::wer::WordErrors;
use serde_json::Value;

const MODEL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/models/stt-demo");

/// A worker on the bundled checkpoint, until it is dropped.
struct Worker {
    process: Child,
    url: String,
}

impl Worker {
    fn start() -> Self {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let dir = tempfile::tempdir().unwrap();
        let config = dir.path().join("config.toml");
        let bundled = include_str!("../../configs/config-stt-demo.toml");
        std::fs::write(&config, format!("{bundled}\n[server]\nadmin_addr = \"\"\n")).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_moshi-server"))
            .args([
                "worker",
                "--cpu",
                "--silent",
                "--port",
                &port.to_string(),
                "--config",
            ])
            .arg(&config)
            .spawn()
            .unwrap();
        let worker = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
        };
        let begun = Instant::now();
        while http().get(&format!("{}/readyz", worker.url)).call().is_err() {
            assert!(
                begun.elapsed() < Duration::from_secs(120),
                "the worker is not ready"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
        worker
    }

    /// The words the worker hears in a file.
    fn hear(&self, file: &[u8]) -> String {
        http()
            .post(&format!("{}/api/asr-streaming?format=text", self.url))
            .header("kyutai-api-key", "public_token")
            .send(file)
            .unwrap()
            .body_mut()
            .read_to_string()
            .unwrap()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn samples() -> Vec<PathBuf> {
    let files = std::fs::read_dir(Path::new(MODEL).join("samples")).unwrap();
    let mut paths: Vec<PathBuf> = files.map(|file| file.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == "wav"));
    paths.sort();
    paths
}

/// Each sample has no more wrong words than when the checkpoint was made, but for one that hangs in the balance; all
/// together have no more than a word in a hundred.
#[test]
fn every_sample_is_transcribed_as_well_as_when_the_checkpoint_was_made() {
    let worker = Worker::start();
    let recorded = std::fs::read_to_string(Path::new(MODEL).join("reference.json")).unwrap();
    let recorded: Value = serde_json::from_str(&recorded).unwrap();
    let words = |list: &Value| -> String {
        let list = list.as_array().unwrap().iter();
        list.map(|word| word[0].as_str().unwrap())
            .collect::<Vec<_>>()
            .join(" ")
    };
    let (mut now, mut then) = (WordErrors::default(), WordErrors::default());
    assert!(samples().len() >= 18);
    for path in samples() {
        let name = path.file_stem().unwrap().to_str().unwrap();
        let said = std::fs::read_to_string(path.with_extension("txt")).unwrap();
        let heard = worker.hear(&std::fs::read(&path).unwrap());
        let got = WordErrors::between(&said, &heard);
        let made = WordErrors::between(&said, &words(&recorded[name]["words"]));
        assert!(
            got.errors <= made.errors + 1,
            "{name}: {got:?} and not {made:?}\nsaid  {said}heard {heard}"
        );
        now += got;
        then += made;
    }
    assert!(
        now.errors <= then.errors + then.words / 100,
        "{now:?} and not {then:?}"
    );
}

#[test]
fn silence_and_hiss_are_no_words() {
    let worker = Worker::start();
    let mut noise = 1u32;
    let mut pcm = |level: f32| {
        noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (level * ((noise >> 8) as f32 / (1 << 23) as f32 - 1.0) * 32767.0) as i16
    };
    for level in [0.0, 0.003, 0.03] {
        let data: Vec<u8> = (0..20 * 24_000).flat_map(|_| pcm(level).to_le_bytes()).collect();
        let mut wav = b"RIFF".to_vec();
        wav.extend((36 + data.len() as u32).to_le_bytes());
        wav.extend(b"WAVEfmt \x10\0\0\0\x01\0\x01\0\xc0\x5d\0\0\x80\xbb\0\0\x02\0\x10\0data");
        wav.extend((data.len() as u32).to_le_bytes());
        wav.extend(data);
        assert_eq!(worker.hear(&wav).trim(), "", "at level {level}");
    }
}

#[test]
fn the_configuration_is_that_of_the_checkpoint() {
    let model = |text: &str| {
        let table: toml::Table = text.parse().unwrap();
        let asr = table["modules"]["asr"].clone();
        (asr["model"].clone(), asr["asr_delay_in_tokens"].clone())
    };
    let exported = std::fs::read_to_string(Path::new(MODEL).join("config.toml")).unwrap();
    assert_eq!(
        model(include_str!("../../configs/config-stt-demo.toml")),
        model(&exported)
    );
}
