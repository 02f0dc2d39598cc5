//! The kinds of module: one file per kind with its configuration table, its checks, its files, what its clients speak, and
//! how it is loaded. To add a kind: its file, and a line in [`KINDS`].

pub mod fleet;
pub mod hub;
pub mod scripted;
pub mod stt;
pub mod voices;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use self::fleet::LoadedModule;
use self::hub::{Hub, HubError};
use self::voices::VoicesError;
use crate::config::expand::Expander;
use crate::config::kind::{Kind, Kinds, ModuleTable};
use crate::config::{self, ConfigErrors, Warning, bundled};
use crate::model::device::Devices;
use crate::model::error::LoadError;
use crate::net::routes::own_paths;

/// One module of a configuration.
pub trait Module: ModuleTable + fmt::Debug + Send + Sync {
    /// Says what the module means to the operator: files, memory. Fetches nothing.
    fn describe(&self, hub: &Hub) -> Description;

    /// Loads the module, called `name`, on every device.
    ///
    /// # Errors
    /// A file cannot be had or does not fit the configuration, or the rows do not fit into memory.
    fn load(&self, name: &str, loader: &Loader<'_>) -> Result<LoadedModule, ModuleError>;
}

/// What `validate` prints of a module.
pub struct Description {
    pub lines: Vec<String>,
    /// Whether all files are there or can be fetched.
    pub usable: bool,
}

/// What loading needs.
pub struct Loader<'l> {
    pub hub: &'l Hub,
    pub devices: &'l Devices,
    /// Threads that compute a step on the CPU.
    pub threads: usize,
    /// Rows instead of those of the configuration.
    pub rows: Option<usize>,
}

/// Why a module cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum ModuleError {
    #[error(transparent)]
    File(#[from] HubError),
    #[error(transparent)]
    Model(#[from] LoadError),
    #[error(transparent)]
    Voices(#[from] VoicesError),
    #[error("no device to load it on")]
    NoDevice,
}

/// A module of any kind.
pub type ModuleConfig = Arc<dyn Module>;

/// A configuration with modules of any kind.
pub type Config = config::Config<ModuleConfig>;

/// Every kind of module.
pub const KINDS: Kinds<ModuleConfig> = Kinds {
    kinds: &[
        Kind {
            types: stt::TYPES,
            read: |table| Some(Arc::new(stt::read(table)?)),
        },
        Kind {
            types: scripted::TYPES,
            read: |table| Some(Arc::new(scripted::read(table)?)),
        },
        Kind {
            types: scripted::SPEECH_TYPES,
            read: |table| Some(Arc::new(scripted::read_speech(table)?)),
        },
    ],
    unsupported: &["PyBatchedAsr", "Tts", "Py", "PyPost", "Mimi", "Lm"],
};

impl ModuleTable for ModuleConfig {
    fn path(&self) -> &str {
        self.as_ref().path()
    }

    fn rows(&self) -> usize {
        self.as_ref().rows()
    }

    fn check(&self, checks: &mut config::kind::Checks<'_, '_>) {
        self.as_ref().check(checks);
    }
}

impl Config {
    /// Reads and checks the file `path`. Warnings are things that load but have no effect, or not the one that was meant.
    ///
    /// # Errors
    /// Every mistake of the file at once, each with its line; or that the file cannot be read.
    pub fn load(path: &Path) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        config::load::load(path, &KINDS, &own_paths())
    }

    /// Reads and checks `text`; `name` is only for messages.
    ///
    /// # Errors
    /// Every mistake at once, each with its line.
    pub fn parse(name: &str, text: &str, vars: &Expander) -> Result<(Self, Vec<Warning>), ConfigErrors> {
        config::load::parse(name, text, vars, &KINDS, &own_paths())
    }

    /// Returns the configuration of the bundled checkpoint: what `worker` runs when it is given none.
    ///
    /// # Errors
    /// The checkpoint's folder cannot be found.
    pub fn bundled() -> Result<(Self, Vec<Warning>), ConfigErrors> {
        let (name, text) = bundled::demo()?;
        Self::parse(name, text, &Expander::from_env())
    }
}

#[cfg(test)]
mod tests;
