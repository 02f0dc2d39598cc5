//! Speech to text on a CPU: the codec's frame of codes, then the language model's step, which takes the codes in at the
//! step after.

use std::time::Instant;

use super::formats::Formats;
use super::kernels::pool::Pool;
use super::lm::Lm;
use super::memory::free_bytes;
use super::mimi::MimiEncoder;
use crate::audio::pcm;
use crate::model::error::LoadError;
use crate::model::layout::dtype::{KvFormat, Real, cpu_cache};
use crate::model::layout::memory::{LmWeights, MemoryPlan};
use crate::model::stt::config::Checkpoint;
use crate::model::{ModelError, Part, Spec, StepIo, StreamModel};
use crate::stream::ids::RowId;

/// Loads a checkpoint with state for `rows` rows, to be computed by `threads` threads.
///
/// # Errors
/// A tensor is missing or wrong, the rows do not fit into memory, or a setting is not one for CPUs.
pub(crate) fn load(
    checkpoint: &Checkpoint<'_>,
    rows: usize,
    threads: usize,
) -> Result<Box<dyn StreamModel>, LoadError> {
    let Checkpoint {
        config,
        mimi,
        codec,
        lm,
    } = *checkpoint;
    let formats = Formats {
        weights: config.weights,
        cache: cpu_cache(config.kv_cache)?,
    };
    let weights = match formats.weights {
        Some(format) => LmWeights::As(format),
        None => LmWeights::Held(lm.bytes_held()),
    };
    let cache = match formats.cache {
        Real::F32 => KvFormat::F32,
        Real::Bf16 => KvFormat::Bf16,
    };
    let plan = MemoryPlan::cpu(&config.lm, mimi, weights, cache, rows);
    plan.check(rows, free_bytes(), 0)?;
    let books = config.lm.audio_codebooks;
    Ok(Box::new(CpuStt {
        spec: config.spec(mimi, rows, plan.row),
        pool: Pool::new(threads).map_err(LoadError::Threads)?,
        mimi: MimiEncoder::load(codec, mimi, books, rows)?,
        lm: Lm::load(lm, config, rows, formats)?,
        books,
        codes: vec![0; rows * books],
        audio: vec![0.0; rows * mimi.frame_samples()],
    }))
}

/// Mimi's encoder and the language model, batched by row.
struct CpuStt {
    spec: Spec,
    pool: Pool,
    mimi: MimiEncoder,
    lm: Lm,
    books: usize,
    codes: Vec<u32>,
    audio: Vec<f32>,
}

impl StreamModel for CpuStt {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset_row(&mut self, row: RowId, seed: u64) {
        let Self {
            spec: _,
            pool: _,
            mimi,
            lm,
            books: _,
            codes: _,
            audio: _,
        } = self;
        mimi.reset_row(row);
        lm.reset_row(row, seed);
    }

    fn step(&mut self, io: &mut StepIo<'_>) -> Result<(), ModelError> {
        io.check(&self.spec)?;
        let (rows, out) = (io.rows, &mut *io.out);
        out.clear();
        let audio = &mut self.audio[..io.audio.len()];
        audio.copy_from_slice(io.audio);
        pcm::tame(audio);
        let start = Instant::now();
        let codes = &mut self.codes[..rows.len() * self.books];
        self.mimi.encode(&mut self.pool, rows, audio, codes);
        let encoded = Instant::now();
        let (tokens, pauses) = (&mut out.tokens, &mut out.pauses);
        self.lm.step(&mut self.pool, rows, codes, tokens, pauses);
        out.parts.set(Part::MimiEncoder, encoded - start);
        out.parts.set(Part::Lm, encoded.elapsed());
        Ok(())
    }
}
