//! Wiring: configuration -> models -> pipelines -> server, and the life of the process from start to exit code.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::{Instant, interval, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::auth::Guard;
use crate::config::{Config, Limits};
use crate::model::StreamModel;
use crate::net::{self, Module, ModuleInfo, Shared, listener};
use crate::pipeline::engine::Heart;
use crate::pipeline::words::assembler::Detokenize;
use crate::pipeline::{self, PipelineError, PipelineOptions, StageEnd, links};
use crate::session::admission::Admission;
use crate::session::registry::Registry;
use crate::session::task::Context;
use crate::shutdown::{Lifecycle, lifecycle};
use crate::telemetry::labels::EngineFault;
use crate::telemetry::{self, Meters};

/// After a signal to stop: time for load balancers to see that the server is not ready any more.
const NOTICE: Duration = Duration::from_secs(1);
/// After a failure: time to tell the clients.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What the system keeps for a client that does not read: some minutes of words, and no more for thousands of clients.
const SEND_BUFFER: u32 = 64 << 10;
/// Connections the system holds until they are accepted.
const BACKLOG: u32 = 1024;
/// How often stages that do not end are named.
const REPORT: Duration = Duration::from_secs(5);
/// Time for the stages to end once nothing feeds them.
const JOIN: Duration = Duration::from_secs(15);

/// A module, loaded.
pub struct LoadedModule {
    pub name: String,
    pub path: String,
    pub info: ModuleInfo,
    pub model: Box<dyn StreamModel>,
    pub text: Arc<dyn Detokenize>,
}

/// A server that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error("module {name}")]
    Pipeline { name: String, source: PipelineError },
    #[error(
        "no credentials are configured, so everybody on the network could use the server at {0}; set MOSHI_API_KEY, \
         authorized_ids or [auth], or listen on 127.0.0.1"
    )]
    Open(IpAddr),
    #[error("cannot listen on {address}")]
    Listen {
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// How the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was told to, and everything was brought to its end.
    Stopped,
    /// A stage failed. A supervisor should start the process again.
    Failed,
}

/// A server that runs.
pub struct App {
    pub address: SocketAddr,
    pub admin_address: Option<SocketAddr>,
    shared: Arc<Shared>,
    lifecycle: watch::Sender<Lifecycle>,
    threads: Vec<JoinHandle<()>>,
    hearts: Vec<Arc<Heart>>,
    /// Ends with the app.
    _upkeep: AbortOnDropHandle<()>,
    ends: mpsc::Receiver<StageEnd>,
}

impl App {
    /// Starts a server for `modules` and begins to serve. Nothing is loaded here.
    ///
    /// # Errors
    /// An address cannot be bound, a thread cannot be started, or a model cannot be fed.
    pub async fn start(
        config: &Config,
        guard: Guard,
        modules: Vec<LoadedModule>,
        meters: Meters,
    ) -> Result<Self, AppError> {
        if guard.is_open() && !config.server.addr.is_loopback() {
            return Err(AppError::Open(config.server.addr));
        }
        let guard = Arc::new(guard);
        let limits = Arc::new(config.limits.clone());
        let (lifecycle, watching) = lifecycle();
        tokio::spawn(telemetry::health::follow(meters.clone(), watching.clone()));
        let upkeep = tokio::spawn(telemetry::upkeep::run(meters.clone()));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let options = PipelineOptions {
            frames_ahead: limits.frames_ahead(Duration::from_millis(80)),
            coalesce: limits.coalesce,
            // Decoding costs a hundredth of what a model does.
            shards: (cores / 8).clamp(1, 4),
        };
        let (ends_tx, ends) = links::ends(modules.len() * (options.shards + 2));
        let (mut threads, mut hearts, mut served) = (Vec::new(), Vec::new(), Vec::new());
        for module in modules {
            let engine = meters.engine(&module.name);
            let spec = module.model.spec();
            meters.model_info(&[
                ("module", module.name.clone().into()),
                ("kind", module.info.kind.into()),
                ("delay_frames", spec.delay_frames.to_string().into()),
                ("pause_heads", spec.vad_heads.to_string().into()),
                ("bytes_per_row", spec.bytes_per_row.to_string().into()),
            ]);
            let (rows, wiring) = pipeline::wire(module.model.spec().rows, options);
            let admission = Arc::new(Admission::new(rows, limits.queue_len));
            let row_free = {
                let admission = Arc::clone(&admission);
                Box::new(move |key| admission.row_free(key))
            };
            let pipeline = wiring
                .start(
                    &module.name,
                    module.model,
                    module.text,
                    row_free,
                    &ends_tx,
                    (&meters, &engine),
                )
                .map_err(|source| AppError::Pipeline {
                    name: module.name.clone(),
                    source,
                })?;
            threads.extend(pipeline.threads);
            hearts.push(pipeline.heart);
            served.push(Arc::new(Module {
                name: module.name,
                path: module.path,
                admission,
                info: module.info,
                meters: engine,
            }));
        }
        let listener = bind(SocketAddr::new(config.server.addr, config.server.port)).await?;
        let admin = match config.server.admin_addr {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        let shared = Arc::new(Shared {
            modules: served,
            guard: Arc::clone(&guard),
            server: config.server.clone(),
            registry: Arc::new(Registry::new(meters.clone())),
            context: Context {
                guard,
                limits: Arc::clone(&limits),
                lifecycle: watching.clone(),
                meters,
            },
            files: Arc::new(Semaphore::new(limits.max_files)),
        });
        let app = Self {
            address: address_of(&listener)?,
            admin_address: admin.as_ref().map(address_of).transpose()?,
            threads,
            hearts,
            _upkeep: AbortOnDropHandle::new(upkeep),
            ends,
            lifecycle,
            shared,
        };
        app.serve(listener, admin, config, &limits, &watching);
        app.lifecycle.send_replace(Lifecycle::Ready);
        Ok(app)
    }

    fn serve(
        &self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        config: &Config,
        limits: &Arc<Limits>,
        watching: &watch::Receiver<Lifecycle>,
    ) {
        let router = net::router(&self.shared, config.static_dir.as_deref());
        let routes = [
            Some((listener, router)),
            admin.map(|l| (l, net::admin::router(&self.shared))),
        ];
        for (listener, router) in routes.into_iter().flatten() {
            let (server, limits, watching) = (config.server.clone(), Arc::clone(limits), watching.clone());
            let meters = self.shared.context.meters.clone();
            tokio::spawn(listener::serve(
                listener, router, server, limits, watching, meters,
            ));
        }
    }

    /// Runs until `stop` resolves or a stage fails, and brings everything to its end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Outcome {
        tokio::pin!(stop);
        let mut pulse = interval(Duration::from_millis(250));
        let step_timeout = self.shared.context.limits.step_timeout;
        let failure = loop {
            tokio::select! {
                () = &mut stop => break None,
                Some(end) = self.ends.recv() => {
                    let why = end.failure.unwrap_or_else(|| "it ended".to_owned());
                    self.count(EngineFault::Stage);
                    break Some(format!("{}: {why}", end.name));
                }
                _ = pulse.tick() => {
                    if self.hearts.iter().any(|heart| heart.busy_for() > step_timeout) {
                        self.count(EngineFault::Hung);
                        break Some(format!("a model step takes longer than {} s", step_timeout.as_secs()));
                    }
                }
            }
        };
        match failure {
            None => self.stop().await,
            Some(failure) => self.fail(&failure).await,
        }
    }

    fn count(&self, fault: EngineFault) {
        self.shared
            .modules
            .iter()
            .for_each(|module| module.meters.faults.of(fault).increment(1));
    }

    async fn fail(self, failure: &str) -> Outcome {
        tracing::error!(failure, "a stage failed; ending all sessions");
        self.lifecycle.send_replace(Lifecycle::Failed);
        self.shared
            .modules
            .iter()
            .for_each(|module| module.admission.drain());
        // Those who cannot be told in time will see the connection end.
        let _ = timeout(LAST_WORDS, self.shared.registry.wait_until_empty()).await;
        sleep(Duration::from_millis(100)).await;
        Outcome::Failed
    }

    async fn stop(mut self) -> Outcome {
        let limits = Arc::clone(&self.shared.context.limits);
        tracing::info!(sessions = self.shared.registry.len(), "stopping");
        self.lifecycle.send_replace(Lifecycle::NotReady);
        sleep(NOTICE.min(limits.drain)).await;
        let until = Instant::now() + limits.drain;
        self.shared
            .modules
            .iter()
            .for_each(|module| module.admission.drain());
        self.lifecycle.send_replace(Lifecycle::Draining { until });
        if timeout_at(until, self.shared.registry.wait_until_empty())
            .await
            .is_err()
        {
            tracing::warn!(
                sessions = self.shared.registry.len(),
                "the grace period is over; ending the rest"
            );
        }
        self.lifecycle.send_replace(Lifecycle::Stopped);
        let _ = timeout(LAST_WORDS, self.shared.registry.wait_until_empty()).await;
        // Upstream first: without rows and leases nothing feeds the decoders, and so on down the line.
        self.shared
            .modules
            .iter()
            .for_each(|module| module.admission.shut());
        self.join().await
    }

    async fn join(&mut self) -> Outcome {
        let deadline = Instant::now() + JOIN;
        let mut failed = false;
        while self.threads.iter().any(|thread| !thread.is_finished()) {
            match timeout(REPORT.min(deadline - Instant::now()), self.ends.recv()).await {
                Ok(Some(end)) => failed |= end.failure.is_some(),
                Ok(None) => sleep(Duration::from_millis(1)).await,
                Err(_) => {
                    let names = self.threads.iter().filter(|t| !t.is_finished());
                    let names: Vec<_> = names.filter_map(|t| t.thread().name()).collect();
                    tracing::warn!(stages = names.join(", "), "still waiting");
                    if Instant::now() >= deadline {
                        return Outcome::Failed;
                    }
                }
            }
        }
        if failed { Outcome::Failed } else { Outcome::Stopped }
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, AppError> {
    let listen = || {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        socket.set_reuseaddr(true)?;
        // Connections inherit it.
        socket.set_send_buffer_size(SEND_BUFFER)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    listen().map_err(|source| AppError::Listen { address, source })
}

fn address_of(listener: &TcpListener) -> Result<SocketAddr, AppError> {
    let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
    listener.local_addr().map_err(|source| AppError::Listen {
        address: unknown,
        source,
    })
}
