//! Sockets and HTTP. The only place that reads or writes a connection of a client; knows no rows and no tensors.

mod admin;
mod answers;
mod body;
mod client_address;
mod connection;
mod connections;
mod credentials;
mod form;
mod frames;
mod gauges;
mod handshake;
mod host;
mod info;
pub mod listener;
mod log_limit;
mod page;
mod reader;
mod refusal;
pub mod routes;
mod say;
mod sink;
pub mod slots;
mod socket;
mod stall;
mod upgrade;
mod upload;
mod writer;

use std::sync::Arc;

use self::slots::FileSlots;
use crate::auth::{Guard, Scope};
use crate::config::{Limits, ServerConfig};
use crate::decoder;
use crate::protocol::dialect::OpenDialect;
use crate::session::admission::Admission;
use crate::session::context::Context;
use crate::session::registry::Registry;
use crate::stream::voice::Voices;
use crate::telemetry::catalogue::EngineMeters;

/// A module as the network sees it.
pub struct Module {
    /// The name of its table in the configuration.
    pub name: String,
    pub path: String,
    /// What its clients speak.
    pub dialect: OpenDialect,
    /// What a credential must allow to use it.
    pub scope: Scope,
    pub admission: Arc<Admission>,
    /// What `/api/modules_info` says of it besides its slots.
    pub info: ModuleInfo,
    /// Of a module that speaks: its clients send text and get audio.
    pub voices: Option<Arc<dyn Voices>>,
    pub meters: EngineMeters,
}

pub use info::ModuleInfo;

/// What every request can reach.
pub struct Shared {
    pub modules: Vec<Arc<Module>>,
    pub guard: Arc<Guard>,
    pub server: ServerConfig,
    pub registry: Arc<Registry>,
    pub context: Context,
    /// Posted files that may be in work.
    pub files: Arc<FileSlots>,
    /// What decodes them.
    pub decoder: decoder::Program,
}

impl Shared {
    fn limits(&self) -> &Arc<Limits> {
        &self.context.limits
    }
}

/// The address of the client: of the connection, or what a trusted proxy says.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::SocketAddr);
