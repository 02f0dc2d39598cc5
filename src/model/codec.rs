//! Mimi's decoder by itself: codes to audio, without a model that makes the codes.

use std::path::Path;

use super::ModelError;
use super::cpu::{MimiDecoder, Pool, free_bytes};
use super::error::LoadError;
use super::layout::memory::MemoryPlan;
use super::layout::mimi::MimiConfig;
use super::weights::Weights;
use crate::stream::ids::RowId;

/// A streaming decoder on a CPU, batched by row.
pub struct CodecDecoder {
    pool: Pool,
    decoder: MimiDecoder,
}

impl CodecDecoder {
    /// Loads the first `codebooks` codebooks and the decoder of the checkpoint at `path`, with state for `rows` rows, to
    /// be computed by `threads` threads.
    ///
    /// # Errors
    /// The file is missing or broken, has no decoder or fewer codebooks, or the rows do not fit into memory.
    pub fn load(path: &Path, codebooks: usize, rows: usize, threads: usize) -> Result<Self, LoadError> {
        let w = Weights::open(path)?;
        let config = MimiConfig::of(&w)?;
        MemoryPlan::cpu_decoder(&config, codebooks, rows).check(rows, free_bytes(), 0)?;
        Ok(Self {
            pool: Pool::new(threads).map_err(LoadError::Threads)?,
            decoder: MimiDecoder::load(&w, &config, codebooks, rows)?,
        })
    }

    /// Decodes one frame of each of `rows`, which are distinct: `codes` is `rows × codebooks`, `audio` gets
    /// `rows × samples`. Samples can lie slightly beyond [-1, 1].
    ///
    /// # Errors
    /// The decoder does not have a row, a code is not one of its codebooks', or the lengths do not fit. No row has moved
    /// on.
    pub fn decode(&mut self, rows: &[RowId], codes: &[u32], audio: &mut [f32]) -> Result<(), ModelError> {
        self.decoder.decode(&mut self.pool, rows, codes, audio)
    }

    /// Returns `row` to the start of a stream.
    pub fn reset_row(&mut self, row: RowId) {
        self.decoder.reset_row(row);
    }
}
