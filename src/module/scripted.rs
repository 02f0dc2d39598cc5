//! Modules of type `Scripted` and `ScriptedTts`: the whole server with a model that transcribes a pattern in the audio, or says
//! one, and takes as long as it is told to. For capacity and failure tests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;

use super::fleet::{LoadedModule, Placed};
use super::hub::Hub;
use super::voices::VoiceFolder;
use super::{Description, Loader, Module, ModuleError};
use crate::auth::Scope;
use crate::config::kind::{Checks, ModuleTable, TableReader};
use crate::model::scripted::speech::ScriptedSpeech;
use crate::model::scripted::{Scripted, ScriptedConfig};
use crate::net::ModuleInfo;
use crate::protocol::kyutai;
use crate::stream::text::Vocabulary;
use crate::stream::voice::Voices;

/// Values of `type` that transcribe.
pub const TYPES: &[&str] = &["Scripted"];
/// Values of `type` that speak.
pub const SPEECH_TYPES: &[&str] = &["ScriptedTts"];
/// Ending of the files of voices.
const VOICE_ENDING: &str = ".safetensors";

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
    /// Folder of the voices, of a module that speaks.
    pub voice_folder: Option<String>,
    /// The voice of those who name none.
    pub default_voice: Option<String>,
    /// The type is one that speaks.
    #[serde(skip)]
    speaks: bool,
}

fn one() -> usize {
    1
}

fn six() -> u32 {
    6
}

/// Reads the table.
pub fn read(table: TableReader<'_, '_>) -> Option<ScriptedModule> {
    table.read(None, &[], files)
}

/// Reads the table of a module that speaks.
pub fn read_speech(table: TableReader<'_, '_>) -> Option<ScriptedModule> {
    let module = table.read(None, &[], files)?;
    Some(ScriptedModule {
        speaks: true,
        ..module
    })
}

fn files(module: &mut ScriptedModule) -> Vec<(&'static str, &mut String)> {
    let folder = module.voice_folder.iter_mut();
    folder.map(|folder| ("voice_folder", folder)).collect()
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
        let voices = [
            ("voice_folder", &self.voice_folder),
            ("default_voice", &self.default_voice),
        ];
        for (key, value) in voices {
            if value.is_some() && !self.speaks {
                checks.wrong(key, "is for modules that speak, of type `ScriptedTts`");
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
        let config = self.scripted(rows);
        let (model, text, voices) = if self.speaks {
            let (model, tokenizer) = ScriptedSpeech::load(&config);
            let voices = match &self.voice_folder {
                Some(folder) => {
                    VoiceFolder::open(Path::new(folder), VOICE_ENDING, self.default_voice.as_deref())?
                }
                None => VoiceFolder::default(),
            };
            let voices: Arc<dyn Voices> = Arc::new(voices);
            (model, Vocabulary::Speaks(tokenizer), Some(voices))
        } else {
            let (model, text) = Scripted::load(&config);
            (model, Vocabulary::Reads(text), None)
        };
        Ok(LoadedModule {
            name: name.to_owned(),
            path: self.path.clone(),
            dialect: if self.speaks {
                kyutai::tts::open
            } else {
                kyutai::asr::open
            },
            scope: if self.speaks { Scope::Speak } else { Scope::Listen },
            info: ModuleInfo {
                kind: if self.speaks { "scripted_tts" } else { "scripted" },
                files: None,
            },
            models: vec![Placed {
                device: "cpu".to_owned(),
                model,
            }],
            text,
            voices,
        })
    }
}
