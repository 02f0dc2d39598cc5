//! Loading a checkpoint onto a GPU.

use super::driver::Driver;
use super::source::WeightSource;
use super::stt::{CudaStt, Setup};
use crate::model::StreamModel;
use crate::model::error::LoadError;
use crate::model::layout::dtype::{gpu_cache, gpu_weights};
use crate::model::layout::lm::TEXT_HEAD;
use crate::model::stt::config::Checkpoint;

/// Loads `checkpoint` with state for `rows` rows onto GPU `ordinal`, which is there, and captures its graphs.
///
/// # Errors
/// A tensor is missing or wrong, the rows do not fit, a setting is not one for GPUs, or the device failed.
pub(in crate::model) fn load(
    checkpoint: &Checkpoint<'_>,
    rows: usize,
    ordinal: usize,
) -> Result<Box<dyn StreamModel>, LoadError> {
    let mut model = open(checkpoint, rows, ordinal)?;
    let start = std::time::Instant::now();
    model.warm_up()?;
    tracing::info!(seconds = start.elapsed().as_secs_f32(), "graphs captured");
    Ok(Box::new(model))
}

/// Loads without capturing graphs.
///
/// # Errors
/// As for [`load`].
pub(super) fn open(
    checkpoint: &Checkpoint<'_>,
    rows: usize,
    ordinal: usize,
) -> Result<CudaStt<Driver>, LoadError> {
    let Checkpoint {
        config,
        mimi,
        codec,
        lm,
    } = *checkpoint;
    let real = gpu_weights(config.weights, lm.format(TEXT_HEAD))?;
    let cache = gpu_cache(config.kv_cache, real)?;
    let driver = Driver::open(ordinal)?;
    tracing::info!(gpu = driver.name(), ?real, ?cache, rows, "loading onto the GPU");
    let sources = (&WeightSource::File(codec), &WeightSource::File(lm));
    CudaStt::load(driver, config, mimi, sources, Setup { rows, real, cache })
}
