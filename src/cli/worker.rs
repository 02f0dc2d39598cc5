//! `worker`: the server.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::{App, Outcome};
use crate::auth::Guard;
use crate::config::Warning;
use crate::model::device::Devices;
use crate::module::fleet::LoadedModule;
use crate::module::hub::{Hub, Source};
use crate::module::{Config, Loader, ModuleConfig};
use crate::open_files;
use crate::telemetry::logs::{LogError, LogGuard, LogOptions};
use crate::telemetry::{self, Meters};

/// Exit code that asks a supervisor for a restart (`EX_SOFTWARE` of sysexits).
const FAILED: u8 = 70;

/// Runs the server. Without --config, on the checkpoint that comes with the repository.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration file
    #[arg(short, long)]
    config: Option<PathBuf>,
    /// What to log: error, warn, info, debug, trace, or a filter like moshi_server=debug
    #[arg(short, long, default_value = "info")]
    log: String,
    /// Address to listen on, instead of the configured one
    #[arg(short, long, value_parser = address)]
    addr: Option<IpAddr>,
    /// Port to listen on, instead of the configured one
    #[arg(short, long)]
    port: Option<u16>,
    /// The same as --device cpu
    #[arg(long)]
    cpu: bool,
    /// Do not log to the terminal
    #[arg(long)]
    silent: bool,
    /// Processor of the model: cpu, cuda:N, several GPUs as cuda:0,cuda:1 or cuda:all, or auto for the best there is
    #[arg(long, default_value = "auto", conflicts_with = "cpu")]
    device: String,
    /// Streams at once on each device, instead of the configured batch_size
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..))]
    rows: Option<u16>,
    /// Stop when the process ends that started this one
    #[arg(long, hide = true)]
    with_parent: bool,
}

/// An address to listen on, as people write one: with an IPv6 address in brackets or not, and `localhost` for this machine alone.
fn address(text: &str) -> Result<IpAddr, String> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'))
        .unwrap_or(text);
    match bare {
        "localhost" => Ok(Ipv4Addr::LOCALHOST.into()),
        bare => bare.parse().map_err(|_| {
            "an address such as 127.0.0.1, 0.0.0.0 or ::1 is wanted (a port goes to --port); no name but localhost is looked up".to_owned()
        }),
    }
}

/// Runs the command. Exits with 0 after it was told to stop and with 70 after a failure.
///
/// # Errors
/// The server could not be started.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.with_parent {
        set_parent_process_death_signal(Some(Signal::TERM))?;
    }
    let (mut config, warnings) = match &args.config {
        Some(path) => Config::load(path)?,
        None => Config::bundled()?,
    };
    config.server.addr = args.addr.unwrap_or(config.server.addr);
    config.server.port = args.port.unwrap_or(config.server.port);
    let _logs = start_logs(&config, &args)?;
    report(&warnings);
    open_files::raise(config.limits.max_connections);
    let guard = guard(&config)?;
    for warning in guard.warnings() {
        tracing::warn!("configuration: {warning}");
    }
    let meters = Meters::new(config.telemetry.kyutai_metrics);
    telemetry::logs::count_panics(meters.clone());
    telemetry::publish_build(&meters);
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.saturating_sub(3).max(2))
        .thread_name("io")
        .enable_all()
        .build()?;
    let outcome = runtime.block_on(serve(config, args, guard, meters))?;
    // A hung step cannot be waited for.
    runtime.shutdown_background();
    Ok(match outcome {
        Outcome::Stopped => ExitCode::SUCCESS,
        Outcome::Failed => ExitCode::from(FAILED),
    })
}

/// Loads and serves until the first signal to stop and all that follows from it; the second ends at once what is left.
async fn serve(config: Config, args: Args, guard: Guard, meters: Meters) -> anyhow::Result<Outcome> {
    let mut signals = signals()?;
    let loading = tokio::task::spawn_blocking(move || {
        let modules = load(&config, &args)?;
        anyhow::Ok((config, modules))
    });
    let (config, modules) = tokio::select! {
        loaded = loading => loaded.context("loading the models")??,
        // The counter lives as long as the runtime.
        _ = signals.wait_for(|count| *count >= 1) => {
            tracing::info!("told to stop while loading");
            return Ok(Outcome::Stopped);
        }
    };
    let app = App::start(&config, guard, modules, meters).await?;
    tracing::info!(address = %app.address, admin = ?app.admin_address, "ready");
    let mut again = signals.clone();
    let first = async {
        let _ = signals.wait_for(|count| *count >= 1).await;
    };
    tokio::select! {
        outcome = app.run(first) => Ok(outcome),
        _ = again.wait_for(|count| *count >= 2) => {
            tracing::warn!("told to stop again: what is left ends now");
            Ok(Outcome::Stopped)
        }
    }
}

fn start_logs(config: &Config, args: &Args) -> Result<LogGuard, LogError> {
    let dir = config.log_dir.as_deref().filter(|_| config.telemetry.log_files);
    telemetry::logs::init(&LogOptions {
        filter: &args.log,
        format: config.telemetry.log_format,
        silent: args.silent,
        files: dir.map(|dir| (dir, config.instance_name.as_str())),
    })
}

fn report(warnings: &[Warning]) {
    for warning in warnings {
        tracing::warn!("configuration{warning}");
    }
}

/// The guard that the configuration and the environment ask for.
pub(super) fn guard(config: &Config) -> anyhow::Result<Guard> {
    let env = |name: &str| std::env::var(name).ok();
    Ok(Guard::from_config(
        &config.auth,
        &config.authorized_ids,
        &config.server.allowed_origins,
        env,
    )?)
}

/// Counts the signals to stop.
fn signals() -> anyhow::Result<watch::Receiver<u32>> {
    let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let (count, signals) = watch::channel(0);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            count.send_modify(|count| *count += 1);
        }
    });
    Ok(signals)
}

fn load(config: &Config, args: &Args) -> anyhow::Result<Vec<LoadedModule>> {
    let hub = Hub::new(Source::from_env(false));
    let devices = if args.cpu {
        Devices::cpu()
    } else {
        args.device.parse()?
    };
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = config
        .server
        .model_threads
        .unwrap_or_else(|| cores.saturating_sub(1).max(1));
    let loader = Loader {
        hub: &hub,
        devices: &devices,
        threads,
        rows: args.rows.map(usize::from),
    };
    let one = |(name, module): (&String, &ModuleConfig)| {
        module
            .load(name, &loader)
            .with_context(|| format!("module {name}"))
    };
    config.modules.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_may_stand_in_brackets_and_localhost_is_one() {
        for (text, expected) in [
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("localhost", "127.0.0.1"),
            ("0.0.0.0", "0.0.0.0"),
        ] {
            assert_eq!(address(text), Ok(expected.parse().unwrap()), "{text}");
        }
        for text in ["example.com", "127.0.0.1:80", "[::1", ""] {
            assert!(address(text).unwrap_err().contains("--port"), "{text}");
        }
    }
}
