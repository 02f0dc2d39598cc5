//! Modules of type `BatchedAsr` and `Asr`: speech to text. Kyutai's server gives each socket of an `Asr` module a model of its
//! own; here both are many streams in one batch.

mod check;
mod describe;

use serde::Deserialize;
use toml::de::DeTable;

use super::fleet::{LoadedModule, Placed};
use super::hub::{Hub, HubError};
use super::{Description, Loader, Module, ModuleError};
use crate::auth::Scope;
use crate::config::bundled;
use crate::config::kind::{Checks, ModuleTable, TableReader};
use crate::model::layout::dtype::UnknownFormat;
use crate::model::layout::lm::LmConfig;
use crate::model::stt::{Conditioning, LoadOptions, SttConfig};
use crate::model::{self};
use crate::net::ModuleInfo;
use crate::protocol::kyutai;
use crate::stream::text::Vocabulary;

/// Values of `type`.
pub const TYPES: &[&str] = &["BatchedAsr", "Asr"];

/// Keys of published files that have no effect on the models this kind runs.
const INERT: [&str; 6] = [
    "use_conv_bias",
    "conv_kernel_size",
    "conv_layout",
    "max_seq_len",
    "cross_attention",
    "shared_cross_attn",
];

/// Keys of the table. File names may hold `$VAR` and `hf://org/repo/file`.
#[derive(Clone, Debug, Deserialize)]
pub struct SttModule {
    pub path: String,
    pub lm_model_file: String,
    pub text_tokenizer_file: String,
    pub audio_tokenizer_file: String,
    pub asr_delay_in_tokens: u32,
    #[serde(default = "one")]
    pub batch_size: usize,
    /// 0 is greedy; above it Gumbel-max sampling.
    #[serde(default)]
    pub temperature: f64,
    /// Seconds; overrides `asr_delay_in_tokens` with `floor(12.5·v) + 1` where the checkpoint is conditioned on delay.
    pub conditioning_delay: Option<f32>,
    #[serde(default)]
    pub conditioning_learnt_padding: bool,
    /// `f32`, `bf16`, `f16` or our addition `q8_0`: how the language model's weights are held.
    pub dtype_override: Option<String>,
    /// Our addition: how the language model's keys and values are held. On a CPU `f32` (as without it) or `bf16`; on a
    /// GPU as its weights are, or `fp8`.
    pub kv_cache_dtype: Option<String>,
    pub model: LmConfig,
}

fn one() -> usize {
    1
}

/// Reads the table.
pub fn read(table: TableReader<'_, '_>) -> Option<SttModule> {
    table.read(published().as_ref(), &INERT, |module: &mut SttModule| {
        vec![
            ("lm_model_file", &mut module.lm_model_file),
            ("text_tokenizer_file", &mut module.text_tokenizer_file),
            ("audio_tokenizer_file", &mut module.audio_tokenizer_file),
        ]
    })
}

/// The table of a published file: values to go on with when a user's file lacks one.
fn published() -> Option<DeTable<'static>> {
    let root = DeTable::parse(bundled::EN_FR).ok()?.into_inner();
    let table = root.get("modules")?.get_ref().get("asr")?.get_ref().as_table()?;
    Some(table.clone())
}

impl SttModule {
    /// Returns the model that the module describes, its files as paths that exist, fetched where need be.
    fn resolve(&self, hub: &Hub) -> Result<SttConfig, HubError> {
        let mut module = self.clone();
        for file in [
            &mut module.lm_model_file,
            &mut module.text_tokenizer_file,
            &mut module.audio_tokenizer_file,
        ] {
            *file = hub.find(file)?.to_string_lossy().into_owned();
        }
        // invariant: a checked configuration names only formats that there are.
        Ok(module.config().unwrap_or_else(|error| unreachable!("{error}")))
    }

    /// Returns the model that the module describes.
    ///
    /// # Errors
    /// `dtype_override` or `kv_cache_dtype` is no format. A checked configuration has none such.
    pub fn config(&self) -> Result<SttConfig, UnknownFormat> {
        Ok(SttConfig {
            lm_file: self.lm_model_file.clone().into(),
            codec_file: self.audio_tokenizer_file.clone().into(),
            tokenizer_file: self.text_tokenizer_file.clone().into(),
            text_delay: self.asr_delay_in_tokens,
            conditioning: Conditioning {
                delay_s: self.conditioning_delay,
                learnt_padding: self.conditioning_learnt_padding,
            },
            temperature: self.temperature,
            weights: self.dtype_override.as_deref().map(str::parse).transpose()?,
            kv_cache: self.kv_cache_dtype.as_deref().map(str::parse).transpose()?,
            lm: self.model.clone(),
        })
    }
}

impl ModuleTable for SttModule {
    fn path(&self) -> &str {
        &self.path
    }

    fn rows(&self) -> usize {
        self.batch_size
    }

    fn check(&self, checks: &mut Checks<'_, '_>) {
        check::check(self, checks);
    }
}

impl Module for SttModule {
    fn describe(&self, hub: &Hub) -> Description {
        describe::describe(self, hub)
    }

    fn load(&self, name: &str, loader: &Loader<'_>) -> Result<LoadedModule, ModuleError> {
        let config = self.resolve(loader.hub)?;
        let rows = loader.rows.unwrap_or(self.batch_size);
        let (mut models, mut text) = (Vec::new(), None);
        for device in loader.devices.list() {
            tracing::info!(module = name, rows, %device, "loading {}", config.lm_file.display());
            let options = LoadOptions {
                rows,
                threads: loader.threads,
                device: *device,
            };
            let loaded = model::load(&config, options)?;
            models.push(Placed {
                device: device.to_string(),
                model: loaded.model,
            });
            text.get_or_insert(loaded.text);
        }
        let file = |path: &std::path::Path| path.to_string_lossy().into_owned();
        Ok(LoadedModule {
            name: name.to_owned(),
            path: self.path.clone(),
            dialect: kyutai::asr::open,
            scope: Scope::Listen,
            info: ModuleInfo {
                kind: "batched_asr",
                files: Some((file(&config.lm_file), file(&config.codec_file))),
            },
            models,
            text: Vocabulary::Reads(text.ok_or(ModuleError::NoDevice)?),
            voices: None,
        })
    }
}

#[cfg(test)]
mod tests;
