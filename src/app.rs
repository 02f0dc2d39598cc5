//! Wiring: configuration -> models -> pipelines -> server, and the life of the process from start to exit code.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::task::AbortOnDropHandle;

use crate::auth::Guard;
use crate::config::Limits;
use crate::decoder;
use crate::module::Config;
use crate::module::fleet::{Fleet, LoadedModule, StartError};
use crate::net::slots::FileSlots;
use crate::net::{Shared, listener, routes};
use crate::pipeline::PipelineOptions;
use crate::session::context::Context;
use crate::session::registry::Registry;
use crate::shutdown::{Lifecycle, lifecycle};
use crate::stream::frame::FRAME_DURATION;
use crate::telemetry::{self, Meters};

/// After a signal to stop: time for load balancers to see that the server is not ready any more.
const NOTICE: Duration = Duration::from_secs(1);
/// After a failure: time to tell the clients.
const LAST_WORDS: Duration = Duration::from_secs(2);
/// What the system keeps for a client that does not read: some minutes of words, and no more for thousands of clients.
const SEND_BUFFER: u32 = 64 << 10;
/// Connections the system holds until they are accepted.
const BACKLOG: u32 = 1024;

/// A server that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    #[error(transparent)]
    Pipeline(#[from] StartError),
    #[error(
        "no credentials configured; refusing to listen on {0}, which is reachable from the network: set MOSHI_API_KEY, \
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
    /// A module has lost its last device. A supervisor should restart the process.
    Failed,
}

/// A server that runs.
pub struct App {
    pub address: SocketAddr,
    pub admin_address: Option<SocketAddr>,
    shared: Arc<Shared>,
    lifecycle: watch::Sender<Lifecycle>,
    fleet: Fleet,
    /// Ends with the app.
    _upkeep: AbortOnDropHandle<()>,
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
        let pipelines = modules.iter().map(|module| module.models.len()).sum::<usize>();
        let options = PipelineOptions {
            frames_ahead: limits.frames_ahead(FRAME_DURATION),
            coalesce: limits.coalesce,
            // Decoding costs a hundredth of what a model does.
            shards: (cores / 8 / pipelines.max(1)).clamp(1, 4),
        };
        let (fleet, served) = Fleet::start(modules, options, limits.queue_len, &meters)?;
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
            files: Arc::new(FileSlots::new(limits.max_files)),
            decoder: decoder::Program::new(config.server.decoder.clone()),
        });
        let app = Self {
            address: address_of(&listener)?,
            admin_address: admin.as_ref().map(address_of).transpose()?,
            fleet,
            _upkeep: AbortOnDropHandle::new(upkeep),
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
        let router = routes::main(&self.shared, config.static_dir.as_deref());
        let operator = admin.map(|listener| {
            let address = self.admin_address.map(|address| address.ip().to_canonical());
            let loopback = address.is_some_and(|address| address.is_loopback());
            (listener, routes::operator(&self.shared, loopback))
        });
        let routes = [Some((listener, router)), operator];
        for (listener, router) in routes.into_iter().flatten() {
            let (server, limits, watching) = (config.server.clone(), Arc::clone(limits), watching.clone());
            let meters = self.shared.context.meters.clone();
            tokio::spawn(listener::serve(
                listener, router, server, limits, watching, meters,
            ));
        }
    }

    /// Runs until `stop` resolves or a module has lost its last device, and brings everything to its end.
    pub async fn run(mut self, stop: impl Future<Output = ()>) -> Outcome {
        let step_timeout = self.shared.context.limits.step_timeout;
        let failure = tokio::select! {
            () = stop => None,
            failure = self.fleet.watch(step_timeout) => Some(failure),
        };
        match failure {
            None => self.stop().await,
            Some(failure) => self.fail(&failure).await,
        }
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

    async fn stop(self) -> Outcome {
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
        if self.fleet.join().await {
            Outcome::Stopped
        } else {
            Outcome::Failed
        }
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
