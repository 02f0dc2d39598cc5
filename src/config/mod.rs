//! Configuration: Kyutai's TOML, unchanged, plus our own sections.
//!
//! Loading is pure: it reads one file and the environment. `hf://` names stay names. What a module's table means is the
//! business of its kind: [`kind`] is the seam.

pub mod bundled;
mod check;
pub mod expand;
pub mod kind;
pub mod limits;
pub mod load;
pub mod report;
mod section;
pub mod server;
pub mod telemetry;

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::auth::AuthConfig;
pub use crate::config::limits::Limits;
pub use crate::config::report::{ConfigErrors, Mistake, Warning};
pub use crate::config::server::ServerConfig;
pub use crate::config::telemetry::TelemetryConfig;

/// A whole configuration, checked. Strings are `$VAR`-expanded; model files may still be `hf://` names.
#[derive(Clone, Debug)]
pub struct Config<M> {
    /// Folder of files to serve (the web client); none when the key is absent.
    pub static_dir: Option<PathBuf>,
    /// Folder of log files; none when the key is absent.
    pub log_dir: Option<PathBuf>,
    /// Names this process in logs.
    pub instance_name: String,
    /// Static API keys in clear text, as Kyutai's configuration has them.
    pub authorized_ids: Vec<String>,
    pub modules: BTreeMap<String, M>,
    pub server: ServerConfig,
    pub limits: Limits,
    pub auth: AuthConfig,
    pub telemetry: TelemetryConfig,
}
