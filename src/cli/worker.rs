//! `worker`: the server.

use std::net::IpAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use rustix::process::{Signal, set_parent_process_death_signal};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::{App, Outcome};
use crate::auth::Guard;
use crate::config::{Config, ModuleConfig, Warning};
use crate::fleet::{LoadedModule, Placed};
use crate::hub::{Hub, Source};
use crate::model::device::Devices;
use crate::model::scripted::Scripted;
use crate::model::{self, LoadOptions};
use crate::net::ModuleInfo;
use crate::net::routes::own_paths;
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
    #[arg(short, long)]
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

/// Runs the command. Exits with 0 after it was told to stop and with 70 after a failure.
///
/// # Errors
/// The server could not be started.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.with_parent {
        set_parent_process_death_signal(Some(Signal::TERM))?;
    }
    let (mut config, warnings) = match &args.config {
        Some(path) => Config::load(path, &own_paths())?,
        None => Config::bundled(&own_paths())?,
    };
    config.server.addr = args.addr.unwrap_or(config.server.addr);
    config.server.port = args.port.unwrap_or(config.server.port);
    let _logs = start_logs(&config, &args)?;
    report(&warnings);
    open_files::raise(config.limits.max_connections);
    let guard = guard(&config)?;
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
    let one = |(name, module): (&String, &ModuleConfig)| {
        load_one(name, module, args, &hub, (&devices, threads)).with_context(|| format!("module {name}"))
    };
    config.modules.iter().map(one).collect()
}

fn load_one(
    name: &str,
    module: &ModuleConfig,
    args: &Args,
    hub: &Hub,
    (devices, threads): (&Devices, usize),
) -> anyhow::Result<LoadedModule> {
    let rows = args.rows.map_or(module.rows(), usize::from);
    let (kind, files, models, text) = match module {
        ModuleConfig::BatchedAsr(asr) | ModuleConfig::Asr(asr) => {
            let asr = hub.resolve(asr)?;
            let (mut models, mut text) = (Vec::new(), None);
            for device in devices.list() {
                tracing::info!(module = name, rows, %device, "loading {}", asr.lm_model_file);
                let options = LoadOptions {
                    rows,
                    threads,
                    device: *device,
                };
                let loaded = model::load(&asr, options)?;
                models.push(Placed {
                    device: device.to_string(),
                    model: loaded.model,
                });
                text.get_or_insert(loaded.text);
            }
            let text = text.context("no device")?;
            let files = (asr.lm_model_file, asr.audio_tokenizer_file);
            ("batched_asr", Some(files), models, text as _)
        }
        ModuleConfig::Scripted(scripted) => {
            let mut scripted = scripted.clone();
            scripted.batch_size = rows;
            let (model, text) = Scripted::load(&scripted);
            let device = "cpu".to_owned();
            ("scripted", None, vec![Placed { device, model }], text)
        }
    };
    Ok(LoadedModule {
        name: name.to_owned(),
        path: module.path().to_owned(),
        info: ModuleInfo { kind, files },
        models,
        text,
    })
}
