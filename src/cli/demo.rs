//! `demo`: the server on the bundled checkpoint, and a sample spoken to it in real time.

use std::process::{Child, Command, ExitCode, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

use super::live::{Live, summary};
use super::transcribe::{open, play};
use crate::captions::Format;
use crate::client::{Credential, Endpoint};
use crate::config::bundled;
use crate::protocol::kyutai::Form;

/// Time for the server to become ready.
const START: Duration = Duration::from_secs(120);

/// Starts the server on the bundled checkpoint, speaks a sample to it in real time and shows what it hears.
///
/// The server stays up afterwards, until it is interrupted.
#[derive(clap::Args)]
pub struct Args {
    /// Port of the server
    #[arg(short, long, default_value_t = 8080)]
    port: u16,
    /// Stop after the sample; fails when no words were heard
    #[arg(long)]
    exit: bool,
}

/// Runs the command.
///
/// # Errors
/// There is no bundled checkpoint, the server does not start, or it does not serve.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let checkpoint = bundled::checkpoint_dir()
        .context("the bundled checkpoint (models/stt-demo) was not found; run from the repository, or set MOSHI_MODELS_DIR")?;
    let sample = checkpoint.join("samples/demo.wav");
    let file = open(&sample)?;
    let port = args.port.to_string();
    let mut worker = Worker::start(&[
        "worker",
        "--addr",
        "127.0.0.1",
        "--port",
        &port,
        "--log",
        "warn",
        "--with-parent",
    ])?;
    worker.wait_until_ready(args.port)?;

    super::say(&format!(
        "The server is ready. Speaking {} to it, in real time:\n",
        sample.display()
    ));
    let form = Form {
        extras: true,
        ..Form::default()
    };
    let url = format!("ws://127.0.0.1:{port}");
    let endpoint = Endpoint {
        url: url.clone(),
        credential: Credential::None,
        form,
    };
    let live = Live::new(file.length());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let report = runtime.block_on(play(&endpoint, file, Some(1.0), Some(live)))?;
    super::print(&report.transcript.render(Format::Txt))?;
    super::say(&format!("\n{}", summary(&report)));
    if args.exit {
        worker.stop()?;
        anyhow::ensure!(!report.transcript.words().is_empty(), "the server heard no words");
        return Ok(ExitCode::SUCCESS);
    }
    super::say(&format!(
        "\nThe server stays up at http://127.0.0.1:{port} (WebSocket {url}/api/asr-streaming).\n\
         Try `moshi-server transcribe FILE` in another terminal. Stop it with Ctrl-C."
    ));
    let status = worker.wait()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The server as a process of its own, so that the demo measures what a client sees. Ends with its owner.
struct Worker {
    process: Child,
}

impl Worker {
    fn start(args: &[&str]) -> anyhow::Result<Self> {
        let program = std::env::current_exe().context("cannot find this program")?;
        let process = Command::new(program)
            .args(args)
            .spawn()
            .context("cannot start the server")?;
        Ok(Self { process })
    }

    fn wait_until_ready(&mut self, port: u16) -> anyhow::Result<()> {
        let url = format!("http://127.0.0.1:{port}/readyz");
        let started = Instant::now();
        while started.elapsed() < START {
            // Asked first: another server on the same port would answer in place of the one that could not start.
            if let Some(status) = self.process.try_wait()? {
                anyhow::bail!("the server did not start ({status}); what it wrote above says why");
            }
            let asked = ureq::get(&url)
                .config()
                .timeout_global(Some(Duration::from_secs(2)))
                .proxy(None)
                .build();
            if asked.call().is_ok() && self.process.try_wait()?.is_none() {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        anyhow::bail!("the server was not ready after {} s", START.as_secs())
    }

    /// Asks the server to end, and waits for that.
    fn stop(mut self) -> anyhow::Result<()> {
        if let Some(pid) = Pid::from_raw(self.process.id().cast_signed()) {
            kill_process(pid, Signal::TERM)?;
        }
        let status = self.wait()?;
        anyhow::ensure!(status.success(), "the server ended with {status}");
        Ok(())
    }

    fn wait(&mut self) -> std::io::Result<ExitStatus> {
        self.process.wait()
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // A process that has ended already cannot be killed, and need not be.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
