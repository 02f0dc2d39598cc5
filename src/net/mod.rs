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
mod openai;
mod outputs;
mod page;
mod posted;
mod prerecorded;
mod reader;
mod refusal;
pub mod routes;
mod say;
mod services;
mod sink;
pub mod slots;
mod socket;
mod stall;
mod transcribe;
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
    /// Frames by which its text lags its audio.
    pub text_delay: u32,
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

    /// Returns the module that takes audio which clients of other services mean by `name`. They send the names that their
    /// service has, so a name that is no module's means the first.
    fn listening(&self, name: Option<&str>) -> Option<&Arc<Module>> {
        let mut modules = self.modules.iter().filter(|module| module.scope == Scope::Listen);
        let named = modules.clone().find(|module| Some(module.name.as_str()) == name);
        named.or_else(|| modules.next())
    }
}

/// The address of the client: of the connection, or what a trusted proxy says.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub std::net::SocketAddr);
