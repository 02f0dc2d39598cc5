//! What a model needs of memory, checked before anything is allocated.

use std::fs;

use super::cpu::matrix::WeightFormat;
use super::error::LoadError;
use super::kv_cache::CacheFormat;
use super::mimi::config::MimiConfig;
use super::weights::Weights;
use crate::config::module::AsrModule;

const MIB: u64 = 1 << 20;

/// Bytes for weights and for the state of one row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Need {
    pub(crate) weights: u64,
    pub(crate) row: u64,
}

impl Need {
    pub(crate) fn of(
        lm: &Weights,
        codec: &Weights,
        module: &AsrModule,
        mimi: &MimiConfig,
        (format, cache): (Option<WeightFormat>, CacheFormat),
    ) -> Self {
        let t = &module.model.transformer;
        let lm_bytes = match format {
            Some(format) => format.bytes(lm.elements()),
            None => lm.bytes_held(),
        };
        let rings = |layers: usize, context: usize, width: usize| layers * context * width * 2;
        let c = &mimi.transformer;
        let convolutions = mimi.frame_samples() * mimi.seanet.n_filters * size_of::<f32>();
        let row = rings(t.num_layers, t.context, t.d_model) * cache.bytes()
            + rings(c.num_layers, c.context, mimi.dimension) * CacheFormat::F32.bytes()
            + module.model.text_out_vocab_size * size_of::<f32>()
            + convolutions;
        Self {
            weights: (lm_bytes + codec.elements() * size_of::<f32>()) as u64,
            row: row as u64,
        }
    }

    /// Refuses more rows than fit in the memory now free, and says what a row takes and how many would fit.
    pub(crate) fn check(self, rows: usize) -> Result<(), LoadError> {
        let Some(free) = free_bytes() else { return Ok(()) };
        let need = self.row * rows as u64;
        let fit = free.saturating_sub(self.weights) / self.row.max(1);
        if rows as u64 <= fit {
            tracing::info!(
                "the model's weights take {} MiB and each row up to {:.1} MiB: {rows} rows of {fit} that fit",
                self.weights / MIB,
                self.row as f64 / MIB as f64,
            );
            return Ok(());
        }
        Err(LoadError::Memory {
            rows,
            need_mib: need / MIB,
            row_mib: self.row as f64 / MIB as f64,
            weights_mib: self.weights / MIB,
            free_mib: free / MIB,
            fit,
        })
    }
}

/// Memory the kernel could give without swapping; unknown where there is no `/proc`.
fn free_bytes() -> Option<u64> {
    let info = fs::read_to_string("/proc/meminfo").ok()?;
    let line = info.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim()
        .strip_suffix("kB")?
        .trim()
        .parse::<u64>()
        .ok()
        .map(|kib| kib * 1024)
}
