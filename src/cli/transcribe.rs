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
use crate::protocol::Form;

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
    /// API key
    #[arg(long, env = "MOSHI_API_KEY", hide_env_values = true, conflicts_with = "token")]
    api_key: Option<String>,
    /// Token (JWT) of a signed-in user
    #[arg(long, env = "MOSHI_TOKEN", hide_env_values = true)]
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
    let credential = match (args.api_key, args.token) {
        (_, Some(token)) => Credential::Token(token),
        (Some(key), None) => Credential::ApiKey(key),
        (None, None) => Credential::None,
    };
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
    print!("{}", report.transcript.render(args.format));
    if !args.quiet {
        eprintln!("{}", summary(&report));
    }
    Ok(ExitCode::SUCCESS)
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
