//! Configuration: Kyutai's TOML, unchanged, plus our own sections.
//!
//! Loading is pure: it reads one file and the environment. `hf://` names stay names; [`crate::hub`] fetches them.

pub mod bundled;
pub mod check;
pub mod estimate;
pub mod expand;
pub mod kinds;
pub mod limits;
pub mod module;
pub mod report;
mod section;
pub mod server;
pub mod telemetry;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use crate::auth::AuthConfig;
use crate::config::expand::Expander;
pub use crate::config::kinds::{ModuleConfig, ScriptedModule};
pub use crate::config::limits::Limits;
pub use crate::config::report::{ConfigErrors, Mistake, Warning};
use crate::config::section::Document;
pub use crate::config::server::ServerConfig;
pub use crate::config::telemetry::TelemetryConfig;

/// A whole configuration, checked. Strings are `$VAR`-expanded; model files may still be `hf://` names.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Folder of files to serve (the web client); none when the key is absent.
    pub static_dir: Option<PathBuf>,
    /// Folder of log files; none when the key is absent.
    pub log_dir: Option<PathBuf>,
    /// Names this process in logs.
    pub instance_name: String,
    /// Static API keys in clear text, as Kyutai's configuration has them.
    pub authorized_ids: Vec<String>,
    pub modules: BTreeMap<String, ModuleConfig>,
    pub server: ServerConfig,
    pub limits: Limits,
    pub auth: AuthConfig,
    pub telemetry: TelemetryConfig,
}

impl Config {
    /// Reads and checks `path`. Modules may have none of the `reserved` paths, which are the server's own. Warnings are things that load but have no effect, or none that was meant.
    ///
    /// # Errors
    /// Every mistake of the file at once, each with its line; or that the file cannot be read.
    pub fn load(path: &Path, reserved: &[&str]) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|e| ConfigErrors::unreadable(&name, &e))?;
        Self::parse(&name, &text, &Expander::from_env(), reserved)
    }

    /// Reads and checks `text` like [`Config::load`]; `name` is only for messages.
    ///
    /// # Errors
    /// Every mistake at once, each with its line.
    pub fn parse(
        name: &str,
        text: &str,
        vars: &Expander,
        reserved: &[&str],
    ) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let mut document = Document::parse(name, text)?;
        let config = Self {
            static_dir: document.expanded("static_dir", vars).map(PathBuf::from),
            log_dir: document.expanded("log_dir", vars).map(PathBuf::from),
            instance_name: document
                .expanded("instance_name", vars)
                .unwrap_or_else(|| "moshi".to_owned()),
            authorized_ids: document.section("authorized_ids"),
            modules: kinds::read(&mut document, vars),
            server: document.section("server"),
            limits: document.section("limits"),
            auth: document.section("auth"),
            telemetry: document.section("telemetry"),
        };
        document.warn_of_rest();
        check::check(&config, reserved, &mut document);
        document.finish(config)
    }
}

#[cfg(test)]
mod tests;
