//! The kinds of module: `type` in a `[modules.NAME]` table.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::config::bundled;
use crate::config::expand::Expander;
use crate::config::module::AsrModule;
use crate::config::section::Document;
use crate::model::scripted::ScriptedConfig;

/// One module, by kind.
#[derive(Clone, Debug)]
pub enum ModuleConfig {
    /// Speech to text, many streams in one batch.
    BatchedAsr(AsrModule),
    /// Speech to text, as `BatchedAsr`; Kyutai's server gives each socket a model of its own here.
    Asr(AsrModule),
    /// A model that computes nothing, for capacity and failure tests.
    Scripted(ScriptedModule),
}

impl ModuleConfig {
    /// Route of the module.
    #[must_use]
    pub fn path(&self) -> &str {
        match self {
            Self::BatchedAsr(asr) | Self::Asr(asr) => &asr.path,
            Self::Scripted(scripted) => &scripted.path,
        }
    }

    /// Streams the module serves at once.
    #[must_use]
    pub fn rows(&self) -> usize {
        match self {
            Self::BatchedAsr(asr) | Self::Asr(asr) => asr.batch_size,
            Self::Scripted(scripted) => scripted.batch_size,
        }
    }

    /// The speech-to-text keys, for the kinds that have them.
    #[must_use]
    pub fn asr(&self) -> Option<&AsrModule> {
        match self {
            Self::BatchedAsr(asr) | Self::Asr(asr) => Some(asr),
            Self::Scripted(_) => None,
        }
    }
}

/// Keys of a `Scripted` module: the whole server with a model that hears a pattern in the audio and costs what it
/// is told to cost.
#[derive(Clone, Debug, Deserialize)]
pub struct ScriptedModule {
    pub path: String,
    #[serde(default = "one")]
    pub batch_size: usize,
    #[serde(default = "six")]
    pub asr_delay_in_tokens: u32,
    /// Time a step takes, in seconds, whatever its rows.
    #[serde(default)]
    pub step_s: f64,
    /// What each row in it adds, in seconds.
    #[serde(default)]
    pub row_s: f64,
    /// The step after this many fails.
    pub fail_after_steps: Option<u64>,
    /// The step after this many never ends.
    pub hang_after_steps: Option<u64>,
    /// The step after this many panics.
    pub panic_after_steps: Option<u64>,
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

fn one() -> usize {
    1
}

fn six() -> u32 {
    6
}

/// Kinds that Kyutai's server has and this one does not.
const NOT_YET: [&str; 6] = ["PyBatchedAsr", "Tts", "Py", "PyPost", "Mimi", "Lm"];

/// Keys of published files that have no effect on the models this server runs.
const INERT: [&str; 6] = [
    "use_conv_bias",
    "conv_kernel_size",
    "conv_layout",
    "max_seq_len",
    "cross_attention",
    "shared_cross_attn",
];

/// Reads all `[modules.NAME]` tables.
pub(super) fn read(document: &mut Document<'_>, vars: &Expander) -> BTreeMap<String, ModuleConfig> {
    let mut modules = BTreeMap::new();
    let Some(value) = document.take("modules") else {
        document.mistake(
            &[],
            "no [modules.NAME] table: the server would have nothing to serve".to_owned(),
        );
        return modules;
    };
    let DeValue::Table(tables) = value.into_inner() else {
        document.mistake(
            &["modules"],
            "must hold one table for each module, like [modules.asr]".to_owned(),
        );
        return modules;
    };
    for (name, module) in tables {
        let name = name.into_inner().into_owned();
        if let Some(module) = read_one(document, &name, module, vars) {
            modules.insert(name, module);
        }
    }
    modules
}

fn read_one<'i>(
    document: &mut Document<'i>,
    name: &str,
    mut value: Spanned<DeValue<'i>>,
    vars: &Expander,
) -> Option<ModuleConfig> {
    let path = ["modules", name];
    let DeValue::Table(table) = value.get_mut() else {
        document.mistake(&path, "must be a table with `type` and `path`".to_owned());
        return None;
    };
    let Some(kind) = table.remove("type") else {
        document.mistake(
            &path,
            "has no `type`; the type of a speech-to-text module is \"BatchedAsr\"".to_owned(),
        );
        return None;
    };
    let at_type = ["modules", name, "type"];
    match kind.get_ref().as_str() {
        Some("BatchedAsr") => read_asr(document, name, value, vars).map(ModuleConfig::BatchedAsr),
        Some("Asr") => read_asr(document, name, value, vars).map(ModuleConfig::Asr),
        Some("Scripted") => document.read(&path, value, None, &[]).map(ModuleConfig::Scripted),
        Some(kind) if NOT_YET.contains(&kind) => {
            let message = format!(
                "modules of type `{kind}` are not supported yet; this server runs BatchedAsr and Asr. \
                 Remove [modules.{name}] to start without it"
            );
            document.mistake(&at_type, message);
            None
        }
        _ => {
            document.mistake(&at_type, "unknown type of module; use \"BatchedAsr\"".to_owned());
            None
        }
    }
}

fn read_asr<'i>(
    document: &mut Document<'i>,
    name: &str,
    value: Spanned<DeValue<'i>>,
    vars: &Expander,
) -> Option<AsrModule> {
    let good = published_asr();
    let mut asr: AsrModule = document.read(&["modules", name], value, good.as_ref(), &INERT)?;
    for (key, file) in [
        ("lm_model_file", &mut asr.lm_model_file),
        ("text_tokenizer_file", &mut asr.text_tokenizer_file),
        ("audio_tokenizer_file", &mut asr.audio_tokenizer_file),
    ] {
        *file = document.expand(&["modules", name, key], file, vars);
    }
    Some(asr)
}

/// The module of a published file: values to go on with when a user's file lacks one.
fn published_asr() -> Option<DeTable<'static>> {
    let root = DeTable::parse(bundled::EN_FR).ok()?.into_inner();
    let asr = root.get("modules")?.get_ref().get("asr")?.get_ref().as_table()?;
    Some(asr.clone())
}
