//! Speech to text on the device: one upload (audio and which rows), a schedule of two parts (Mimi's encoder, language
//! model), one download. The language model takes in the codes of the frame before, so the parts need nothing of each
//! other and run side by side.
//!
//! Everything that a row remembers lies on the device but for how many frames it has had, which the host knows anyway
//! and sends with each step. A row that has had none is fresh whatever its memory holds, so resetting one is a matter of
//! the host alone, and a recycled row equals a new one by construction.

use super::backend::{Backend, GpuError, Pinned, Ptr};
use super::kernels::{Slot, VACANT};
use super::lm::Lm;
use super::mimi::MimiEncoder;
use super::schedule::Task;
use super::source::{Loader, WeightSource};
use super::transformer::Held;
use crate::audio::pcm;
use crate::model::error::LoadError;
use crate::model::layout::dtype::{Cache, Real};
use crate::model::layout::memory::MemoryPlan;
use crate::model::layout::mimi::MimiConfig;
use crate::model::stt::config::SttConfig;
use crate::model::{ModelError, Part, Spec, StepIo, StreamModel};
use crate::stream::ids::RowId;

/// Device memory left alone beside weights, rows and scratch: what cuBLAS, graphs and the driver take.
const HEADROOM: u64 = 1 << 30;

/// What the host knows of a row.
#[derive(Clone, Copy, Default)]
struct Row {
    frames: u64,
    seed: u64,
}

/// How a model is held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) rows: usize,
    /// Format of the language model; the codec is always held as f32.
    pub(super) real: Real,
    /// Format of the language model's keys and values.
    pub(super) cache: Cache,
}

impl Setup {
    /// Full f32 everywhere where the language model is f32; else the codec's products may use TF32.
    fn exact(self) -> bool {
        self.real == Real::F32
    }
}

/// Mimi's encoder and the language model on one device.
pub(super) struct CudaStt<B> {
    backend: B,
    #[cfg(test)]
    plan: MemoryPlan,
    spec: Spec,
    mimi: MimiEncoder,
    lm: Lm,
    places: Places,
    /// Slots, then audio.
    upload: Pinned,
    /// Tokens, then pauses.
    download: Pinned,
    rows: Vec<Row>,
    buckets: Vec<usize>,
}

/// Buffers between host and device, and between codec and language model.
#[derive(Clone, Copy)]
struct Places {
    slots: Ptr,
    pcm: Ptr,
    codes: Ptr,
    chosen: Ptr,
    pauses: Ptr,
}

/// Returns the sizes of batch that have a graph each: fine enough that filling up to the next one costs little.
pub(super) fn buckets(rows: usize) -> Vec<usize> {
    let step = |n: usize| match n {
        0..32 => n,
        32..256 => 32,
        256..512 => 64,
        _ => 128,
    };
    let all = std::iter::successors(Some(1), |n| Some(n + step(*n)));
    all.take_while(|n| *n < rows).chain([rows]).collect()
}

// Calls `with` with the schedule of a step of `n` slots.
fn scheduled<B: Backend, R>(
    mimi: &MimiEncoder,
    lm: &Lm,
    p: Places,
    n: usize,
    with: impl FnOnce(&[Task<'_, B>]) -> R,
) -> R {
    let encode = |b: &mut B| mimi.launch(b, p.slots, n, p.pcm, p.codes);
    let language = |b: &mut B| lm.launch(b, p.slots, n, p.chosen, p.pauses);
    with(&[
        Task {
            part: Part::MimiEncoder,
            after: &[],
            issue: &encode,
        },
        Task {
            part: Part::Lm,
            after: &[],
            issue: &language,
        },
    ])
}

impl<B: Backend> CudaStt<B> {
    /// Loads both parts from their sources (codec, language model).
    ///
    /// # Errors
    /// A tensor is missing or wrong, the kernels do not take a shape, or the rows do not fit.
    pub(super) fn load(
        mut backend: B,
        config: &SttConfig,
        mimi: &MimiConfig,
        (codec, lm): (&WeightSource<'_>, &WeightSource<'_>),
        setup: Setup,
    ) -> Result<Self, LoadError> {
        let Setup { rows, real, cache } = setup;
        config.check_codebooks(mimi)?;
        let plan = MemoryPlan::gpu(&config.lm, mimi, real, cache, rows);
        plan.check(rows, backend.free_bytes(), HEADROOM)?;
        let (books, heads) = (config.lm.audio_codebooks, config.lm.pause_heads());
        let (frame, exact) = (mimi.frame_samples(), setup.exact());
        let spec = config.spec(mimi, rows, plan.row);
        let mut loader = Loader {
            backend: &mut backend,
            source: codec,
        };
        let mimi = MimiEncoder::load(&mut loader, mimi, books, rows, exact)?;
        loader.source = lm;
        let held = Held {
            rows,
            real,
            cache,
            exact,
        };
        let lm = Lm::load(&mut loader, config, held)?;
        let answer = backend.alloc(rows * 4 * (1 + heads))?;
        let places = Places {
            slots: backend.alloc(rows * size_of::<Slot>())?,
            pcm: backend.alloc(rows * frame * 4)?,
            codes: backend.alloc(rows * books * 4)?,
            chosen: answer,
            pauses: answer.plus(rows * 4),
        };
        Ok(Self {
            upload: backend.pinned(rows * (size_of::<Slot>() + frame * 4))?,
            download: backend.pinned(rows * 4 * (1 + heads))?,
            spec,
            rows: vec![Row::default(); rows],
            buckets: buckets(rows),
            #[cfg(test)]
            plan,
            backend,
            mimi,
            lm,
            places,
        })
    }

    /// Uses graphs of these sizes alone, in ascending order; the last is the most slots that a step may have.
    #[cfg(feature = "cuda")]
    pub(super) fn set_buckets(&mut self, buckets: Vec<usize>) {
        self.buckets = buckets;
    }

    /// Runs every bucket once with no row in it, so that nothing is loaded, compiled or captured during a stream.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn warm_up(&mut self) -> Result<(), GpuError> {
        for n in self.buckets.clone() {
            self.fill(&[], &[], n);
            self.queue_upload(n);
            let Self {
                backend,
                mimi,
                lm,
                places,
                ..
            } = self;
            scheduled(mimi, lm, *places, n, |schedule| backend.prepare(n, schedule))?;
            backend.finish()?;
        }
        Ok(())
    }

    // Writes slots and audio of a bucket of `bucket` slots into the upload buffer.
    fn fill(&mut self, rows: &[RowId], samples: &[f32], bucket: usize) {
        let frame = self.spec.frame_samples;
        let (slots, audio) = self
            .upload
            .bytes()
            .split_at_mut(self.spec.rows * size_of::<Slot>());
        for (i, to) in slots.chunks_exact_mut(size_of::<Slot>()).take(bucket).enumerate() {
            let (row, known) = match rows.get(i) {
                Some(row) => (u32::from(row.0), self.rows[row.index()]),
                None => (VACANT, Row::default()),
            };
            to[..8].copy_from_slice(&known.frames.to_le_bytes());
            to[8..16].copy_from_slice(&known.seed.to_le_bytes());
            to[16..20].copy_from_slice(&row.to_le_bytes());
            to[20..].fill(0);
        }
        debug_assert_eq!(samples.len(), rows.len() * frame);
        for (to, x) in audio.chunks_exact_mut(4).zip(samples) {
            to.copy_from_slice(&pcm::tamed(*x).to_le_bytes());
        }
    }

    fn queue_upload(&mut self, bucket: usize) {
        let (slot, frame) = (size_of::<Slot>(), self.spec.frame_samples * 4);
        let all = self.spec.rows * slot;
        self.backend
            .send(self.places.slots, &self.upload, 0, bucket * slot);
        self.backend
            .send(self.places.pcm, &self.upload, all, bucket * frame);
    }

    fn advance(&mut self, io: &mut StepIo<'_>) -> Result<(), GpuError> {
        let (rows, n) = (io.rows, io.rows.len());
        let place = self.buckets.partition_point(|b| *b < n);
        let bucket = self.buckets[place];
        self.fill(rows, io.audio, bucket);
        self.queue_upload(bucket);
        let Self {
            backend,
            mimi,
            lm,
            places,
            download,
            ..
        } = self;
        scheduled(mimi, lm, *places, bucket, |schedule| {
            backend.run(bucket, schedule);
        });
        lm.remember_codes(backend, places.slots, bucket, places.codes);
        backend.fetch(download, places.chosen);
        backend.finish()?;
        rows.iter().for_each(|row| self.rows[row.index()].frames += 1);
        let (tokens, pauses) = self.download.bytes().split_at(self.spec.rows * 4);
        let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        io.out.tokens.extend(tokens.chunks_exact(4).take(n).map(word));
        let values = pauses.chunks_exact(4).take(n * self.spec.pause_heads);
        io.out.pauses.extend(values.map(|b| f32::from_bits(word(b))));
        Ok(())
    }

    /// Returns the device, for reading what a step left there.
    pub(super) fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// Returns the plan of the memory.
    #[cfg(test)]
    pub(super) fn plan(&self) -> MemoryPlan {
        self.plan
    }

    /// Reads the text logits of the last step's first `n` slots.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn logits(&mut self, n: usize) -> Result<Vec<f32>, GpuError> {
        let (at, wide) = self.lm.logits();
        self.read_floats(at, n * wide)
    }

    /// Reads the latents of the last step's first `n` slots.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn latents(&mut self, n: usize) -> Result<Vec<f32>, GpuError> {
        let d = self.mimi.dimension();
        self.read_floats(self.mimi.latents(), n * d)
    }

    /// Reads the codes of the last step's first `n` slots.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn codes(&mut self, n: usize, books: usize) -> Result<Vec<u32>, GpuError> {
        let values = self.read_floats(self.places.codes, n * books)?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    }

    /// Makes `row` go on as if `token` were its last one.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn force_token(&mut self, row: RowId, token: u32) -> Result<(), GpuError> {
        let at = self.lm.tokens().plus(row.index() * 4);
        self.backend.write(at, &token.to_le_bytes())
    }

    /// Sets the frames that `row` has had, without touching its rings.
    #[cfg_attr(
        not(feature = "cuda"),
        expect(dead_code, reason = "for measurements on a device")
    )]
    pub(super) fn set_age(&mut self, row: RowId, frames: u64) {
        self.rows[row.index()].frames = frames;
    }

    /// Returns where the language model's rings lie, and their bytes.
    #[cfg(feature = "cuda")]
    pub(super) fn rings(&self) -> Vec<(Ptr, usize)> {
        self.lm.rings()
    }

    fn read_floats(&mut self, at: Ptr, n: usize) -> Result<Vec<f32>, GpuError> {
        let mut bytes = vec![0; n * 4];
        self.backend.read(at, &mut bytes)?;
        Ok(bytes
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]))
            .collect())
    }
}

impl<B: Backend> StreamModel for CudaStt<B> {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset_row(&mut self, row: RowId, seed: u64) {
        self.rows[row.index()] = Row { frames: 0, seed };
    }

    fn step(&mut self, io: &mut StepIo<'_>) -> Result<(), ModelError> {
        io.check(&self.spec)?;
        io.out.clear();
        let rows = io.rows;
        if rows.is_empty() {
            return Ok(());
        }
        // Two slots of one row would race for its rings on the device.
        debug_assert!((1..rows.len()).all(|i| !rows[..i].contains(&rows[i])), "{rows:?}");
        let start = std::time::Instant::now();
        self.advance(io).map_err(|e| ModelError(e.to_string()))?;
        let all = start.elapsed();
        let took = |part| self.backend.took(part);
        let codec = took(Part::MimiEncoder).unwrap_or_default().min(all);
        // What the language model takes after the codec, beside which it runs.
        let lm = took(Part::Lm).unwrap_or(all).min(all).saturating_sub(codec);
        io.out.parts.set(Part::MimiEncoder, codec);
        io.out.parts.set(Part::Lm, lm);
        Ok(())
    }
}
