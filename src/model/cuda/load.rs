//! Loading a checkpoint onto a GPU.

use safetensors::tensor::Dtype;

use super::backend::{Cache, Real};
use super::driver::Driver;
use super::engine::{Engine, Setup};
use super::source::Source;
use crate::config::module::AsrModule;
use crate::model::StreamModel;
use crate::model::cpu::matrix::WeightFormat;
use crate::model::error::LoadError;
use crate::model::mimi::config::MimiConfig;
use crate::model::weights::Weights;

/// Loads `module` with state for `rows` rows onto GPU `ordinal`, which is there, and captures its graphs.
pub(in crate::model) fn load(
    module: &AsrModule,
    (codec, lm): (&Weights, &Weights),
    config: &MimiConfig,
    rows: usize,
    ordinal: usize,
) -> Result<Box<dyn StreamModel>, LoadError> {
    let mut engine = open(module, (codec, lm), config, rows, ordinal)?;
    let start = std::time::Instant::now();
    engine.warm_up()?;
    tracing::info!(seconds = start.elapsed().as_secs_f32(), "graphs captured");
    Ok(Box::new(engine))
}

/// Loads without capturing graphs.
pub(super) fn open(
    module: &AsrModule,
    (codec, lm): (&Weights, &Weights),
    config: &MimiConfig,
    rows: usize,
    ordinal: usize,
) -> Result<Engine<Driver>, LoadError> {
    let real = real(module, lm)?;
    let cache = cache(module, real)?;
    let driver = Driver::open(ordinal)?;
    tracing::info!(gpu = driver.name(), ?real, ?cache, rows, "loading onto the GPU");
    let weights = lm.elements() * real.bytes() + codec.elements() * size_of::<f32>();
    let sources = (&Source::File(codec), &Source::File(lm));
    Engine::load(
        driver,
        module,
        sources,
        config,
        (Setup { rows, real, cache }, weights as u64),
    )
}

/// How the language model is held: as the configuration says; without that bf16 where the file is bf16, else f32.
fn real(module: &AsrModule, lm: &Weights) -> Result<Real, LoadError> {
    let Some(name) = module.dtype_override.as_deref() else {
        return Ok(match lm.dtype("text_linear.weight") {
            Some(Dtype::BF16) => Real::Bf16,
            _ => Real::F32,
        });
    };
    match name.parse::<WeightFormat>()? {
        WeightFormat::F32 => Ok(Real::F32),
        WeightFormat::Bf16 => Ok(Real::Bf16),
        WeightFormat::F16 | WeightFormat::Q8 => Err(LoadError::Config(format!(
            "dtype_override `{name}` is for CPUs: a GPU holds weights as bf16 or f32"
        ))),
    }
}

fn cache(module: &AsrModule, real: Real) -> Result<Cache, LoadError> {
    match (module.kv_cache_dtype.as_deref(), real) {
        (None, _) | (Some("f32"), Real::F32) | (Some("bf16"), Real::Bf16) => Ok(Cache::Plain(real)),
        (Some("fp8"), Real::Bf16) => Ok(Cache::Fp8),
        (Some("fp8"), Real::F32) => Err(LoadError::Config(
            "kv_cache_dtype `fp8` goes with weights in bf16: set dtype_override = \"bf16\", or leave it out"
                .to_owned(),
        )),
        (Some(name), _) => Err(LoadError::Config(format!(
            "kv_cache_dtype `{name}` does not go with weights in {real:?} on a GPU: leave it out to hold keys and values alike"
        ))),
    }
}
