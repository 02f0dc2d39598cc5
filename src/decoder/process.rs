//! The server's side: starts a child, feeds it, hears it, and ends it.

use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use rustix::process::Signal;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;

use super::child::ChildOptions;
use super::exit;
use crate::telemetry::catalogue::Files;
use crate::telemetry::labels::FileEnd;

/// Bytes kept of what a child says at its end.
const MAX_REPORT: usize = 2048;

/// The program that decodes.
#[derive(Clone, Debug)]
pub struct Program(PathBuf);

impl Program {
    /// `path`, or the program that runs: whatever has been put in its place on disk since it was started.
    #[must_use]
    pub fn new(path: Option<PathBuf>) -> Self {
        Self(path.unwrap_or_else(|| PathBuf::from("/proc/self/exe")))
    }

    fn command(&self, options: ChildOptions) -> Command {
        let mut command = Command::new(&self.0);
        command
            .arg0("moshi-server")
            .arg("decode-file")
            .arg(format!("--memory={}", options.memory))
            .arg(format!("--file={}", options.file))
            .arg(format!("--cpu={}", options.cpu.as_secs_f64()))
            // The environment holds secrets.
            .env_clear()
            // The allocator would take a gigabyte at once, which counts as memory in use whether or not it is touched.
            .env("MIMALLOC_ARENA_EAGER_COMMIT", "0")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(dir) = std::env::var_os("TMPDIR") {
            command.env("TMPDIR", dir);
        }
        command
    }
}

/// How decoding ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// All of the file was decoded.
    Done,
    /// The file cannot be decoded, for the reason given.
    BadFile(String),
    /// The file made the decoder panic or crash.
    Panicked,
    /// It needs more memory than is allowed.
    Memory,
    /// It takes more processor time than is allowed.
    Time,
    /// The decoder could not work, whatever the file is.
    Failed(String),
    /// The server ended it.
    Killed,
}

impl Ended {
    fn label(&self) -> FileEnd {
        match self {
            Self::Done => FileEnd::Done,
            Self::BadFile(_) => FileEnd::BadFile,
            Self::Panicked => FileEnd::Panicked,
            Self::Memory => FileEnd::Memory,
            Self::Time => FileEnd::Time,
            Self::Failed(_) => FileEnd::Failed,
            Self::Killed => FileEnd::Killed,
        }
    }

    fn of(status: ExitStatus, report: String) -> Self {
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        match (code, status.signal()) {
            (Some(0), _) => Self::Done,
            (Some(exit::BAD_FILE), _) => Self::BadFile(report),
            (Some(exit::PANICKED), _) => Self::Panicked,
            (None, Some(signal)) if signal == Signal::XCPU.as_raw() => Self::Time,
            // Nobody here sent it: the system was out of memory.
            (None, Some(signal)) if signal == Signal::KILL.as_raw() => Self::Memory,
            // What Rust says before it aborts.
            (None, Some(_)) if report.contains("memory allocation of") => Self::Memory,
            (None, Some(_)) => Self::Panicked,
            _ => Self::Failed(report),
        }
    }
}

/// A child that decodes one file. It is killed when this is dropped.
pub struct Decoder {
    /// Takes the file.
    pub file: Option<ChildStdin>,
    /// Gives little-endian 32-bit floats.
    pub audio: ChildStdout,
    ended: oneshot::Receiver<Ended>,
    /// Dropped with the rest, which ends the child.
    _stop: oneshot::Sender<()>,
}

impl Decoder {
    /// Starts a child. `slot` is held until the child has ended and the system has taken back what it had.
    ///
    /// The child ends with the thread that calls this, so call it on a thread of the runtime, which lasts as long as the server.
    ///
    /// # Errors
    /// No process can be started.
    pub fn start(
        program: &Program,
        options: ChildOptions,
        slot: impl Send + 'static,
        meters: &Files,
    ) -> io::Result<Self> {
        let mut child = program.command(options).spawn()?;
        let missing = || io::Error::other("a pipe to the decoder is missing");
        let file = child.stdin.take().ok_or_else(missing)?;
        let audio = child.stdout.take().ok_or_else(missing)?;
        let report = child.stderr.take().ok_or_else(missing)?;
        let (tell, ended) = oneshot::channel();
        let (stop, stopped) = oneshot::channel();
        let meters = meters.clone();
        meters.decoding.increment(1);
        tokio::spawn(async move {
            let end = supervise(child, report, stopped).await;
            drop(slot);
            meters.decoding.decrement(1);
            meters.ended.of(end.label()).increment(1);
            match &end {
                Ended::Failed(reason) => tracing::error!(reason, "a posted file could not be decoded"),
                Ended::Panicked | Ended::Memory | Ended::Time => {
                    tracing::warn!(end = end.label().label(), "a posted file broke its decoder");
                }
                Ended::Done | Ended::BadFile(_) | Ended::Killed => {}
            }
            let _ = tell.send(end);
        });
        Ok(Self {
            file: Some(file),
            audio,
            ended,
            _stop: stop,
        })
    }

    /// Waits for the child's end.
    pub async fn ended(&mut self) -> Ended {
        let lost = |_| Ended::Failed("nobody watched the decoder".to_owned());
        (&mut self.ended).await.unwrap_or_else(lost)
    }
}

/// Waits until the child has ended, by itself or because `stop` has fired.
async fn supervise(mut child: Child, report: impl AsyncRead + Unpin, stop: oneshot::Receiver<()>) -> Ended {
    tokio::select! {
        (status, report) = async { tokio::join!(child.wait(), read_report(report)) } => {
            return match status {
                Ok(status) => Ended::of(status, report),
                Err(error) => Ended::Failed(error.to_string()),
            };
        }
        // Dropping the sender fires it.
        _ = stop => {}
    }
    // Kills and waits: the slot must not be free while the child still has memory.
    match child.kill().await {
        Ok(()) => Ended::Killed,
        Err(error) => Ended::Failed(error.to_string()),
    }
}

/// The first bytes of what the child says; the rest is taken too, so that it never waits to be heard.
async fn read_report(mut from: impl AsyncRead + Unpin) -> String {
    let mut report = Vec::with_capacity(MAX_REPORT);
    let mut piece = [0; MAX_REPORT];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        let room = MAX_REPORT - report.len();
        report.extend_from_slice(&piece[..count.min(room)]);
    }
    String::from_utf8_lossy(&report).into_owned()
}
