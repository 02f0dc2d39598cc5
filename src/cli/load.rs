//! `load`: many streams at once, and what they saw.

use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressStyle};

use crate::client::{Credential, Endpoint};
use crate::load::{self, Clip, Latency, Plan, Report, Route, Rude, Slo, Tally, memory};
use crate::protocol::kyutai::Form;
use crate::stream::input::PcmRate;

/// Length of the made-up sound; it is repeated.
const MADE_UP_S: u32 = 20;

/// Form in which audio is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Send {
    /// Kyutai's messages and nothing else: what their server understands too
    Classic,
    /// MessagePack with floats as bytes, and our extras
    Extras,
    /// Raw 16-bit samples, and our extras
    Pcm16,
    /// Ogg/Opus in Kyutai's messages, packets of 20 ms, as browsers record it
    Opus,
}

/// Puts a server under load and reports what its clients saw. Exits with 1 when the objective is broken.
#[derive(clap::Args)]
pub struct Args {
    /// Address of the server: ws://host:port, or wss://
    #[arg(default_value = "ws://127.0.0.1:8080")]
    url: String,
    /// Streams at once
    #[arg(short = 'n', long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    streams: u32,
    /// Length of the test, in seconds
    #[arg(short, long, default_value_t = 30.0)]
    duration: f64,
    /// Time over which streams start, in seconds
    #[arg(long, default_value_t = 2.0)]
    ramp: f64,
    /// Mean length of a session, in seconds, so that streams come and go; without it a session lasts as long as its file
    #[arg(long)]
    session: Option<f64>,
    /// Audio files to send, each with its words in a .txt file beside it if they are known; without any, a voice-like sound
    #[arg(long = "audio", num_args = 1..)]
    audio: Vec<PathBuf>,
    /// Lengths of messages in milliseconds; streams take turns
    #[arg(long, value_delimiter = ',', default_value = "80,20,40,37")]
    chunk_ms: Vec<f64>,
    /// Forms of audio; streams take turns
    #[arg(long, value_enum, value_delimiter = ',', default_value = "classic")]
    send: Vec<Send>,
    /// API keys; streams take turns over all credentials
    #[arg(
        long,
        env = "MOSHI_LOAD_API_KEYS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    api_key: Vec<String>,
    /// JWTs, as bearer tokens
    #[arg(
        long,
        env = "MOSHI_LOAD_TOKENS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    token: Vec<String>,
    /// JWTs, as a browser sends them: in Sec-WebSocket-Protocol
    #[arg(
        long,
        env = "MOSHI_LOAD_BROWSER_TOKENS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    browser_token: Vec<String>,
    /// API keys with which each session first fetches a single-use ticket, as pages do
    #[arg(
        long,
        env = "MOSHI_LOAD_TICKET_KEYS",
        hide_env_values = true,
        value_delimiter = ','
    )]
    ticket_key: Vec<String>,
    /// Cookie headers
    #[arg(long, env = "MOSHI_LOAD_COOKIES", hide_env_values = true)]
    cookie: Vec<String>,
    /// Rude clients beside the streams: drop, mute, garbage, silent, flood, as in mute=2; or guess=100, which tries 10,000 bad
    /// credentials a second
    #[arg(long, value_delimiter = ',')]
    rude: Vec<Rude>,
    /// Objective: seconds the 99th percentile of the lag may have
    #[arg(long, default_value_t = 0.5)]
    slo_lag: f64,
    /// Objective: seconds the 95th percentile of the word latency may have
    #[arg(long)]
    slo_word: Option<f64>,
    /// Find the most streams that hold the objective; each test lasts --duration
    #[arg(long)]
    find_max: bool,
    /// Upper bound of that search
    #[arg(long, default_value_t = 1024)]
    most: usize,
    /// Write the figures to this file as JSON
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write a report with plots to this file
    #[arg(long)]
    html: Option<PathBuf>,
    /// The server's process, when it runs on this machine: its memory goes into the report
    #[arg(long)]
    pid: Option<u32>,
    /// Seed of what is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Runs the command.
///
/// # Errors
/// A file cannot be read or written, or an option makes no sense.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let slo = Slo {
        lag_p99: args.slo_lag,
        word_p95: args.slo_word,
    };
    let plan = plan(&args)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (streams, tally, search) = runtime.block_on(async {
        let bar = bar(plan.duration);
        if args.find_max {
            let (search, tally) = load::search(&plan, slo, args.most.max(1), |n, at, tally| {
                show(&bar, n, at, tally)
            })
            .await;
            bar.finish_and_clear();
            return (search.streams, tally, Some(search));
        }
        let streams = args.streams as usize;
        let tally = load::run(&plan, streams, |at, tally| show(&bar, streams, at, tally)).await;
        bar.finish_and_clear();
        (streams, Some(tally), None)
    });
    let tally = tally.unwrap_or_else(|| Tally::new(plan.duration));
    let report = Report::new(&plan, streams, &tally, slo, search);
    super::print(&report.to_string())?;
    if let Some(path) = &args.json {
        let text = serde_json::to_string_pretty(&report)? + "\n";
        std::fs::write(path, text).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, load::html::page(&report, &tally))
            .with_context(|| path.display().to_string())?;
    }
    let held = report
        .search
        .as_ref()
        .map_or(report.broken_by.is_empty(), |search| search.streams > 0);
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn plan(args: &Args) -> anyhow::Result<Plan> {
    let seconds = |name: &str, value: f64| {
        anyhow::ensure!(
            value.is_finite() && (0.0..=1e6).contains(&value),
            "--{name} {value}: give seconds, from 0 to 1000000"
        );
        Ok(Duration::from_secs_f64(value))
    };
    let wrong = args.chunk_ms.iter().find(|ms| !(1.0..=2000.0).contains(*ms));
    anyhow::ensure!(wrong.is_none(), "--chunk-ms: give milliseconds, from 1 to 2000");
    let duration = seconds("duration", args.duration)?;
    anyhow::ensure!(
        duration >= Duration::from_secs(1),
        "--duration: give at least 1 second"
    );
    let session = args.session.map(|s| seconds("session", s)).transpose()?;
    anyhow::ensure!(
        session.is_none_or(|s| !s.is_zero()),
        "--session: give more than 0 seconds"
    );
    if let Some(pid) = args.pid {
        memory::resident(pid)?;
    }
    let mut clips: Vec<Clip> = if args.audio.is_empty() {
        vec![Clip::made_up(MADE_UP_S)]
    } else {
        args.audio
            .iter()
            .map(|path| Clip::read(path))
            .collect::<Result<_, _>>()?
    };
    if args.send.contains(&Send::Opus) {
        clips.iter_mut().try_for_each(Clip::encode)?;
    }
    Ok(Plan {
        routes: routes(args),
        clips,
        chunks_ms: args.chunk_ms.clone(),
        duration,
        ramp: seconds("ramp", args.ramp)?,
        session,
        rude: args.rude.clone(),
        seed: args.seed,
        pid: args.pid,
    })
}

/// Every form with every credential.
fn routes(args: &Args) -> Vec<Route> {
    type Given<'a> = (&'a [String], fn(String) -> Credential);
    let kinds: [Given<'_>; 5] = [
        (&args.api_key, Credential::ApiKey),
        (&args.token, Credential::Token),
        (&args.browser_token, Credential::Subprotocol),
        (&args.cookie, Credential::Cookie),
        (&args.ticket_key, Credential::Ticket),
    ];
    let mut credentials: Vec<Credential> = kinds
        .iter()
        .flat_map(|(values, kind)| values.iter().cloned().map(kind))
        .collect();
    if credentials.is_empty() {
        credentials.push(Credential::None);
    }
    let form = |send: Send| Form {
        extras: matches!(send, Send::Extras | Send::Pcm16),
        json: false,
        pcm16: (send == Send::Pcm16).then(PcmRate::default),
    };
    let with = |credential: &Credential| {
        let credential = credential.clone();
        args.send.iter().map(move |send| Route {
            endpoint: Endpoint {
                url: args.url.clone(),
                credential: credential.clone(),
                form: form(*send),
            },
            opus: *send == Send::Opus,
        })
    };
    credentials.iter().flat_map(with).collect()
}

fn bar(duration: Duration) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{bar:30} {elapsed} of {len} s, {eta} left  {msg}");
    ProgressBar::new(duration.as_secs()).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn show(bar: &ProgressBar, streams: usize, at: Duration, tally: &Tally) {
    bar.set_position(at.as_secs());
    let sessions = &tally.sessions;
    bar.set_message(format!(
        "{streams} streams, {} refused, {} failed, lag p99 {:.3} s",
        sessions.refused,
        tally.failures(),
        tally.quantiles(Latency::Lag).p99
    ));
}
