//! Modules of type `Scripted`: the whole server with a model that transcribes a pattern in the audio and takes as long as it
//! is told to. For capacity and failure tests.

use std::time::Duration;

use serde::Deserialize;

use super::fleet::{LoadedModule, Placed};
use super::hub::Hub;
use super::{Description, Loader, Module, ModuleError};
use crate::auth::Scope;
use crate::config::kind::{Checks, ModuleTable, TableReader};
use crate::model::scripted::{Scripted, ScriptedConfig};
use crate::net::ModuleInfo;
use crate::protocol::kyutai;

/// Values of `type`.
pub const TYPES: &[&str] = &["Scripted"];

/// Keys of the table.
#[derive(Clone, Debug, Deserialize)]
pub struct ScriptedModule {
    pub path: String,
    #[serde(default = "one")]
    pub batch_size: usize,
    #[serde(default = "six")]
    pub asr_delay_in_tokens: u32,
    /// Time of a step, in seconds, whatever its rows.
    #[serde(default)]
    pub step_s: f64,
    /// What each row adds to it, in seconds.
    #[serde(default)]
    pub row_s: f64,
    /// The step after this many fails.
    pub fail_after_steps: Option<u64>,
    /// The step after this many never ends.
    pub hang_after_steps: Option<u64>,
    /// The step after this many panics.
    pub panic_after_steps: Option<u64>,
}

fn one() -> usize {
    1
}

fn six() -> u32 {
    6
}

/// Reads the table.
pub fn read(table: TableReader<'_, '_>) -> Option<ScriptedModule> {
    table.read(None, &[], |_| Vec::new())
}

impl ScriptedModule {
    /// Returns the model that the module describes, with `rows` rows.
    #[must_use]
    pub fn scripted(&self, rows: usize) -> ScriptedConfig {
        ScriptedConfig {
            rows,
            text_delay: self.asr_delay_in_tokens,
            step_time: Duration::from_secs_f64(self.step_s),
            row_time: Duration::from_secs_f64(self.row_s),
            fail_after_steps: self.fail_after_steps,
            hang_after_steps: self.hang_after_steps,
            panic_after_steps: self.panic_after_steps,
        }
    }
}

impl ModuleTable for ScriptedModule {
    fn path(&self) -> &str {
        &self.path
    }

    fn rows(&self) -> usize {
        self.batch_size
    }

    fn check(&self, checks: &mut Checks<'_, '_>) {
        for (key, seconds) in [("step_s", self.step_s), ("row_s", self.row_s)] {
            if !(0.0..=3600.0).contains(&seconds) {
                checks.wrong(key, "must be a number of seconds from 0 to 3600");
            }
        }
    }
}

impl Module for ScriptedModule {
    fn describe(&self, _: &Hub) -> Description {
        Description {
            lines: vec!["scripted: computes nothing, for tests of capacity".to_owned()],
            usable: true,
        }
    }

    fn load(&self, name: &str, loader: &Loader<'_>) -> Result<LoadedModule, ModuleError> {
        let rows = loader.rows.unwrap_or(self.batch_size);
        let (model, text) = Scripted::load(&self.scripted(rows));
        Ok(LoadedModule {
            name: name.to_owned(),
            path: self.path.clone(),
            dialect: kyutai::asr::open,
            scope: Scope::Listen,
            info: ModuleInfo {
                kind: "scripted",
                files: None,
            },
            models: vec![Placed {
                device: "cpu".to_owned(),
                model,
            }],
            text,
        })
    }
}
