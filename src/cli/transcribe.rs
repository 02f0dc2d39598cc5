//! `transcribe`: an audio file through a running server.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use tokio::sync::{mpsc, oneshot};

use super::live::{Live, summary};
use crate::audio::file::{FileDecoder, FileError};
use crate::captions::Format;
use crate::client::{self, Credential, Endpoint, Report};
use crate::protocol::kyutai::Form;

/// Pieces of decoded audio that wait for the network.
const AHEAD: usize = 16;

/// Sends an audio file to a server and writes what was said to standard output.
///
/// Captions appear on standard error while they are heard.
#[derive(clap::Args)]
pub struct Args {
    /// Audio file of any common kind, or - for standard input
    file: PathBuf,
    /// Server, with a path if it is not /api/asr-streaming
    #[arg(long, default_value = "ws://127.0.0.1:8080")]
    url: String,
    /// API key. Without this and --token, the token in MOSHI_TOKEN is shown, or else the first key in MOSHI_API_KEY
    #[arg(long, conflicts_with = "token")]
    api_key: Option<String>,
    /// Token (JWT) of a signed-in user
    #[arg(long)]
    token: Option<String>,
    /// Speed in multiples of real time; 1 sends as a microphone would. As fast as the server takes it when absent
    #[arg(long)]
    rtf: Option<f64>,
    /// Form of the transcript
    #[arg(long, value_enum, default_value_t)]
    format: Format,
    /// Speak Kyutai's protocol only, for servers without extras
    #[arg(long)]
    classic: bool,
    /// No captions and no report on standard error
    #[arg(short, long)]
    quiet: bool,
}

/// Runs the command.
///
/// # Errors
/// The file cannot be read, or the server does not serve.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if let Some(rtf) = args.rtf {
        anyhow::ensure!(rtf.is_finite() && rtf > 0.0, "--rtf must be more than 0");
    }
    let credential = credential(args.token, args.api_key, |name| std::env::var(name).ok());
    let form = Form {
        extras: !args.classic,
        ..Form::default()
    };
    let endpoint = Endpoint {
        url: args.url,
        credential,
        form,
    };
    let file = open(&args.file)?;
    let live = (!args.quiet).then(|| Live::new(file.length()));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(play(&endpoint, file, args.rtf, live))?;
    super::print(&report.transcript.render(args.format))?;
    if !args.quiet {
        super::say(&summary(&report));
    }
    Ok(ExitCode::SUCCESS)
}

/// What the server is shown: what was given, or what the environment holds.
pub(super) fn credential(
    token: Option<String>,
    key: Option<String>,
    env: impl Fn(&str) -> Option<String>,
) -> Credential {
    // Out of files and pipes they come with a line break; the server's variable holds all its keys.
    let tidy = |text: String| {
        let first = text.split(',').next().unwrap_or_default().trim();
        (!first.is_empty()).then(|| first.to_owned())
    };
    let (token, key) = match (token, key) {
        (None, None) => (env("MOSHI_TOKEN"), env("MOSHI_API_KEY")),
        given => given,
    };
    match (token.and_then(tidy), key.and_then(tidy)) {
        (Some(token), _) => Credential::Token(token),
        (None, Some(key)) => Credential::ApiKey(key),
        (None, None) => Credential::None,
    }
}

/// Opens an audio file, or standard input for `-`.
pub(super) fn open(path: &PathBuf) -> anyhow::Result<FileDecoder> {
    let name = path.display();
    let file = if path.as_os_str() == "-" {
        FileDecoder::open(io::stdin())
    } else {
        FileDecoder::open(File::open(path).with_context(|| format!("cannot open {name}"))?)
    };
    file.with_context(|| format!("cannot read {name}"))
}

/// Streams `file` to `endpoint` and shows its captions on `live`.
pub(super) async fn play(
    endpoint: &Endpoint,
    file: FileDecoder,
    pace: Option<f64>,
    mut live: Option<Live>,
) -> anyhow::Result<Report> {
    let (pieces, audio) = mpsc::channel(AHEAD);
    // Reading and decoding block. The thread is not joined: standard input may never end when the network side is gone.
    let (done, decoded) = oneshot::channel();
    std::thread::spawn(move || done.send(decode(file, &pieces)));
    let report = client::stream(endpoint, audio, pace, |message| {
        if let Some(live) = &mut live {
            live.hear(message);
        }
    })
    .await;
    if let Some(live) = &mut live {
        live.finish();
    }
    let report = report?;
    decoded.await??;
    Ok(report)
}

fn decode(mut file: FileDecoder, pieces: &mpsc::Sender<Vec<f32>>) -> Result<(), FileError> {
    let mut open = true;
    while open && file.next(&mut |samples| open &= pieces.blocking_send(samples.to_vec()).is_ok())? {}
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_given_counts_before_what_the_environment_holds() {
        let shown = |token: Option<&str>, key: Option<&str>, env: &[(&str, &str)]| {
            let env = |name: &str| env.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
            match credential(token.map(str::to_owned), key.map(str::to_owned), env) {
                Credential::Token(token) => format!("token {token}"),
                Credential::ApiKey(key) => format!("key {key}"),
                _ => "nothing".to_owned(),
            }
        };
        let both = [("MOSHI_API_KEY", "one,two"), ("MOSHI_TOKEN", "t\n")];
        assert_eq!(shown(None, None, &[]), "nothing");
        assert_eq!(shown(None, None, &both), "token t");
        assert_eq!(shown(None, None, &both[..1]), "key one");
        assert_eq!(shown(None, Some("mine\n"), &both), "key mine");
        assert_eq!(shown(Some("mine"), None, &both), "token mine");
        assert_eq!(shown(None, None, &[("MOSHI_API_KEY", "")]), "nothing");
    }
}
