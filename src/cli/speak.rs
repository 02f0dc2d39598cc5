//! `speak`: text to speech through a running server.

use std::fs::File;
use std::io::{self, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::io::AsyncRead;

use super::transcribe::credential;
use crate::audio::pcm;
use crate::audio::wav_writer::{self, HEADER};
use crate::client::{ClientError, Endpoint, SpeechReport, speak};
use crate::protocol::kyutai::Form;
use crate::protocol::kyutai::tts::SpeechMsg;
use crate::stream::frame::{SAMPLE_RATE, seconds};

/// Path of Kyutai's configuration.
const PATH: &str = "/api/tts_streaming";

/// Has a server say a text and writes the audio to a file.
///
/// Words appear on standard error when the server begins to say them.
#[derive(clap::Args)]
pub struct Args {
    /// What to say; without it, or with -, what comes on standard input, as it comes
    text: Vec<String>,
    /// Name of a voice of the server
    #[arg(long)]
    voice: Option<String>,
    /// File for the audio: Ogg/Opus when its name ends in .ogg or .opus, else WAV; - writes WAV to standard output
    #[arg(short, long, default_value = "speech.wav")]
    output: PathBuf,
    /// Server, with a path if it is not /api/tts_streaming
    #[arg(long, default_value = "ws://127.0.0.1:8080")]
    url: String,
    /// API key. Without this and --token, the token in MOSHI_TOKEN is shown, or else the first key in MOSHI_API_KEY
    #[arg(long, conflicts_with = "token")]
    api_key: Option<String>,
    /// Token (JWT) of a signed-in user
    #[arg(long)]
    token: Option<String>,
    /// No words and no report on standard error
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be written, or the server does not serve.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let ogg = args.output.extension().is_some_and(|e| e == "ogg" || e == "opus");
    let endpoint = Endpoint {
        url: address(&args.url, ogg, args.voice.as_deref()),
        credential: credential(args.token, args.api_key, |name| std::env::var(name).ok()),
        form: Form::default(),
    };
    let text = args.text.join(" ");
    let text: Box<dyn AsyncRead + Unpin + Send> = if text.is_empty() || text == "-" {
        Box::new(tokio::io::stdin())
    } else {
        Box::new(io::Cursor::new(text.into_bytes()))
    };
    let mut sound = Sound::create(&args.output, ogg)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(speak(&endpoint, text, |message| {
        if let (SpeechMsg::Text { text, .. }, false) = (message, args.quiet) {
            // If nobody reads it, there is nobody to tell.
            let _ = write!(io::stderr().lock(), "{text} ");
        }
        sound.hear(message)
    }));
    // A read of standard input may never come back.
    runtime.shutdown_background();
    if !args.quiet {
        super::say("");
    }
    let report = report?;
    let audio = sound
        .finish()
        .with_context(|| format!("cannot write {}", args.output.display()))?;
    if !args.quiet {
        super::say(&summary(&report, audio));
    }
    Ok(ExitCode::SUCCESS)
}

/// The address of a session, with what it asks for.
fn address(url: &str, ogg: bool, voice: Option<&str>) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let host = base.split_once("://").map_or(base, |(_, host)| host);
    let has_path = host.trim_end_matches('/').contains('/');
    let path = if has_path { "" } else { PATH };
    let mut asked = form_urlencoded::Serializer::new(query.to_owned());
    asked.append_pair("extras", "1");
    asked.append_pair(
        "format",
        if ogg {
            "OggOpusMessagePack"
        } else {
            "PcmMessagePack"
        },
    );
    if let Some(voice) = voice {
        asked.append_pair("voice", voice);
    }
    format!("{}{path}?{}", base.trim_end_matches('/'), asked.finish())
}

fn summary(report: &SpeechReport, audio: Option<f64>) -> String {
    let took = report.took.as_secs_f64();
    let audio = audio.map_or(String::new(), |audio| {
        format!(
            "{audio:.1} s of audio, {:.1}x real time; ",
            audio / took.max(1e-9)
        )
    });
    let first = report.first.map_or("no sound".to_owned(), |first| {
        format!("first sound after {} ms", first.as_millis())
    });
    format!(
        "{} words in {took:.1} s ({audio}{first}); ready after {} ms",
        report.words,
        report.ready.as_millis()
    )
}

/// Where the audio goes.
enum Sound {
    /// Bytes as they come.
    Ogg(File),
    /// A file whose header is completed at the end.
    Wav { file: File, samples: u64 },
    /// Standard output, which has no end to go back from.
    Pipe { samples: u64 },
}

impl Sound {
    fn create(path: &Path, ogg: bool) -> anyhow::Result<Self> {
        if path.as_os_str() == "-" {
            return Ok(Self::Pipe { samples: 0 });
        }
        let cannot = || format!("cannot write {}", path.display());
        let mut file = File::create(path).with_context(cannot)?;
        if ogg {
            return Ok(Self::Ogg(file));
        }
        let header = wav_writer::header(SAMPLE_RATE);
        file.write_all(&header).with_context(cannot)?;
        Ok(Self::Wav { file, samples: 0 })
    }

    fn hear(&mut self, message: &SpeechMsg) -> Result<(), ClientError> {
        match (self, message) {
            (Self::Ogg(file), SpeechMsg::OggOpus { data }) => file.write_all(data)?,
            (Self::Wav { file, samples }, SpeechMsg::Audio { pcm }) => {
                *samples += pcm.len() as u64;
                file.write_all(&pcm::to_i16_bytes(pcm).collect::<Vec<u8>>())?;
            }
            (Self::Pipe { samples }, SpeechMsg::Audio { pcm }) => {
                let mut bytes = Vec::new();
                if *samples == 0 {
                    bytes.extend(wav_writer::header(SAMPLE_RATE));
                }
                *samples += pcm.len() as u64;
                bytes.extend(pcm::to_i16_bytes(pcm));
                let mut out = io::stdout().lock();
                out.write_all(&bytes)?;
                out.flush()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Completes the file. Returns the length of the audio in seconds, where it is known.
    fn finish(self) -> io::Result<Option<f64>> {
        match self {
            Self::Ogg(file) => file.sync_all().map(|()| None),
            Self::Pipe { samples } => Ok(Some(seconds(samples))),
            Self::Wav { mut file, samples } => {
                // A file of 24 hours is longer than the header can say; readers take what is there.
                let data = u32::try_from(2 * samples).unwrap_or(u32::MAX);
                for (at, size) in [
                    (4, data.saturating_add(HEADER as u32 - 8)),
                    (HEADER as u64 - 4, data),
                ] {
                    file.seek(SeekFrom::Start(at))?;
                    file.write_all(&size.to_le_bytes())?;
                }
                Ok(Some(seconds(samples)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_asks_for_messages_and_the_voice() {
        assert_eq!(
            address("ws://h:1", false, None),
            "ws://h:1/api/tts_streaming?extras=1&format=PcmMessagePack"
        );
        assert_eq!(
            address("wss://h/other?cfg=2", true, Some("a b/c.wav")),
            "wss://h/other?cfg=2&extras=1&format=OggOpusMessagePack&voice=a+b%2Fc.wav"
        );
    }

    #[test]
    fn a_wav_file_says_its_length_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.wav");
        let mut sound = Sound::create(&path, false).unwrap();
        for _ in 0..3 {
            let pcm = vec![0.5; 1920];
            sound.hear(&SpeechMsg::Audio { pcm }).unwrap();
        }
        assert_eq!(sound.finish().unwrap(), Some(0.24));
        let bytes = std::fs::read(&path).unwrap();
        assert_eq!(bytes.len(), HEADER + 3 * 3840);
        assert_eq!(bytes[4..8], (bytes.len() as u32 - 8).to_le_bytes());
        assert_eq!(bytes[40..44], (3 * 3840u32).to_le_bytes());
    }
}
