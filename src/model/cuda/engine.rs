//! The step on the device: one upload (audio and which rows), two graphs (codec, language model), one download. The
//! language model hears the codes of the frame before, so the graphs need nothing of each other and run side by side.
//!
//! Everything that a row remembers lies on the device but for how many frames it has had, which the host knows anyway
//! and sends with each step. A row that has had none is fresh whatever its memory holds, so resetting one is a matter of
//! the host alone, and a recycled row equals a new one by construction.

use super::args::{Slot, VACANT};
use super::backend::{Backend, Cache, GpuError, Part, Pinned, Ptr, Real};
use super::lm::{self, Lm};
use super::mimi::{self, Mimi};
use super::source::{Loader, Source};
use super::transformer::Held;
use crate::config::module::AsrModule;
use crate::model::error::LoadError;
use crate::model::mimi::config::MimiConfig;
use crate::model::{ModelError, ModelSpec, StepOutput, StreamModel, delay_frames};
use crate::stream::ids::RowId;

/// Device memory left alone beside weights, rows and scratch: what cuBLAS, graphs and the driver take.
const HEADROOM: u64 = 1 << 30;

/// What the host knows of a row.
#[derive(Clone, Copy, Default)]
struct Row {
    frames: u64,
    seed: u64,
}

/// Settings beside the configuration file.
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

/// Mimi and the language model on one device.
pub(super) struct Engine<B> {
    backend: B,
    #[cfg(test)]
    plan: Plan,
    spec: ModelSpec,
    mimi: Mimi,
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

/// Sizes of batch for which there is a graph each: fine enough that filling up to the next one costs little.
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

/// Bytes the device needs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Plan {
    pub(super) row: u64,
    pub(super) slot: u64,
    pub(super) weights: u64,
}

impl Plan {
    fn of(module: &AsrModule, config: &MimiConfig, setup: Setup, weights: u64) -> Self {
        let m = &module.model;
        let heads = m.extra_heads.as_ref().map_or(0, |h| h.num_heads);
        let answer = 4 * (1 + heads);
        let slot = size_of::<Slot>() + config.frame_samples() * 4 + m.audio_codebooks * 4 + answer;
        let mimi = mimi::scratch_bytes(config, setup.rows).div_ceil(setup.rows);
        Self {
            row: (lm::row_bytes(module, setup.cache) + mimi::row_bytes(config)) as u64,
            slot: (lm::slot_bytes(module, setup.real) + mimi + slot) as u64,
            weights,
        }
    }

    fn check(&self, rows: usize, free: Option<u64>) -> Result<(), LoadError> {
        const MIB: u64 = 1 << 20;
        let Some(free) = free else { return Ok(()) };
        let each = self.row + self.slot;
        let fit = free.saturating_sub(self.weights + HEADROOM) / each.max(1);
        if rows as u64 <= fit {
            return Ok(());
        }
        Err(LoadError::Memory {
            rows,
            need_mib: each * rows as u64 / MIB,
            row_mib: each as f64 / MIB as f64,
            weights_mib: self.weights / MIB,
            free_mib: free / MIB,
            fit,
        })
    }
}

impl<B: Backend> Engine<B> {
    /// Loads both halves. `weights` is how many bytes they will take on the device, to be refused before it is full.
    pub(super) fn load(
        mut backend: B,
        module: &AsrModule,
        (codec, lm): (&Source<'_>, &Source<'_>),
        config: &MimiConfig,
        (setup, weights): (Setup, u64),
    ) -> Result<Self, LoadError> {
        let Setup { rows, real, cache } = setup;
        let books = module.model.audio_codebooks;
        if books == 0
            || books > config.quantizer.n_q
            || config.quantizer.bins >= module.model.audio_vocab_size
        {
            return Err(LoadError::Config(format!(
                "audio_codebooks is {books} of {} entries, but the codec has {} of {}",
                module.model.audio_vocab_size, config.quantizer.n_q, config.quantizer.bins
            )));
        }
        let plan = Plan::of(module, config, setup, weights);
        plan.check(rows, backend.free_bytes())?;
        let heads = module.model.extra_heads.as_ref().map_or(0, |h| h.num_heads);
        let frame = config.frame_samples();
        let mut loader = Loader {
            backend: &mut backend,
            source: codec,
        };
        let exact = setup.exact();
        let mimi = Mimi::load(&mut loader, config, books, (rows, exact))?;
        loader.source = lm;
        let held = Held {
            rows,
            real,
            cache,
            exact,
        };
        let lm = Lm::load(&mut loader, module, held)?;
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
            spec: ModelSpec {
                rows,
                sample_rate: config.sample_rate,
                frame_samples: frame,
                delay_frames: delay_frames(module, config.frame_rate),
                vad_heads: heads,
                bytes_per_row: plan.row,
            },
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

    /// Uses graphs of these sizes alone, in ascending order; the last is the most slots a step may have.
    #[cfg(feature = "cuda")]
    pub(super) fn set_buckets(&mut self, buckets: Vec<usize>) {
        self.buckets = buckets;
    }

    /// Runs every bucket once with no row in it, so that nothing is loaded, compiled or captured during a stream.
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
            backend.prepare(Part::Codec, n, &|b| codec(b, mimi, *places, n))?;
            backend.prepare(Part::Lm, n, &|b| language(b, lm, *places, n))?;
            backend.finish()?;
        }
        Ok(())
    }

    // Writes slots and audio of a bucket of `bucket` slots into the upload buffer.
    fn fill(&mut self, rows: &[RowId], pcm: &[f32], bucket: usize) {
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
        debug_assert_eq!(pcm.len(), rows.len() * frame);
        for (to, x) in audio.chunks_exact_mut(4).zip(pcm) {
            to.copy_from_slice(&crate::model::stt::clean(*x).to_le_bytes());
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

    fn advance(&mut self, rows: &[RowId], pcm: &[f32], out: &mut StepOutput) -> Result<(), GpuError> {
        let n = rows.len();
        let place = self.buckets.partition_point(|b| *b < n);
        let bucket = self.buckets[place];
        self.fill(rows, pcm, bucket);
        self.queue_upload(bucket);
        let Self {
            backend,
            mimi,
            lm,
            places,
            download,
            ..
        } = self;
        backend.run(bucket, &|b| codec(b, mimi, *places, bucket), &|b| {
            language(b, lm, *places, bucket)
        });
        lm.hear(backend, (places.slots, bucket), places.codes);
        backend.fetch(download, places.chosen);
        backend.finish()?;
        rows.iter().for_each(|row| self.rows[row.index()].frames += 1);
        let (tokens, pauses) = self.download.bytes().split_at(self.spec.rows * 4);
        let word = |b: &[u8]| u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        out.tokens.clear();
        out.tokens.extend(tokens.chunks_exact(4).take(n).map(word));
        out.pauses.clear();
        let values = pauses.chunks_exact(4).take(n * self.spec.vad_heads);
        out.pauses.extend(values.map(|b| f32::from_bits(word(b))));
        Ok(())
    }

    /// The device, for reading what a step left there.
    pub(super) fn backend(&mut self) -> &mut B {
        &mut self.backend
    }

    /// What the memory was planned to be.
    #[cfg(test)]
    pub(super) fn plan(&self) -> Plan {
        self.plan
    }

    /// Text logits of the last step's first `n` slots.
    pub(super) fn logits(&mut self, n: usize) -> Result<Vec<f32>, GpuError> {
        let (at, wide) = self.lm.logits();
        self.read_floats(at, n * wide)
    }

    /// Latents of the last step's first `n` slots.
    pub(super) fn latents(&mut self, n: usize) -> Result<Vec<f32>, GpuError> {
        let d = self.mimi.dimension();
        self.read_floats(self.mimi.latents(), n * d)
    }

    /// Codes of the last step's first `n` slots.
    pub(super) fn codes(&mut self, n: usize, books: usize) -> Result<Vec<u32>, GpuError> {
        let values = self.read_floats(self.places.codes, n * books)?;
        Ok(values.into_iter().map(f32::to_bits).collect())
    }

    /// Makes `row` go on as if it had said `token`.
    pub(super) fn say(&mut self, row: RowId, token: u32) -> Result<(), GpuError> {
        let at = self.lm.tokens().plus(row.index() * 4);
        self.backend.write(at, &token.to_le_bytes())
    }

    /// Makes `row` as old as if it had had `frames` frames, with whatever its rings hold.
    #[cfg_attr(
        not(feature = "cuda"),
        expect(dead_code, reason = "for measurements on a device")
    )]
    pub(super) fn age(&mut self, row: RowId, frames: u64) {
        self.rows[row.index()].frames = frames;
    }

    /// The language model's rings, and their bytes.
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

fn codec<B: Backend>(b: &mut B, mimi: &Mimi, p: Places, n: usize) {
    mimi.launch(b, p.slots, n, p.pcm, p.codes);
}

fn language<B: Backend>(b: &mut B, lm: &Lm, p: Places, n: usize) {
    lm.launch(b, (p.slots, n), (p.chosen, p.pauses));
}

impl<B: Backend> StreamModel for Engine<B> {
    fn spec(&self) -> &ModelSpec {
        &self.spec
    }

    fn reset_row(&mut self, row: RowId, seed: u64) {
        self.rows[row.index()] = Row { frames: 0, seed };
    }

    fn step(&mut self, rows: &[RowId], pcm: &[f32], out: &mut StepOutput) -> Result<(), ModelError> {
        let fits = pcm.len() == rows.len() * self.spec.frame_samples;
        if !fits || rows.len() > self.spec.rows || rows.iter().any(|row| row.index() >= self.spec.rows) {
            return Err(ModelError(format!(
                "{} samples for rows {rows:?} of {}",
                pcm.len(),
                self.spec.rows
            )));
        }
        if rows.is_empty() {
            out.tokens.clear();
            out.pauses.clear();
            return Ok(());
        }
        // Two slots of one row would race for its rings on the device.
        debug_assert!((1..rows.len()).all(|i| !rows[..i].contains(&rows[i])), "{rows:?}");
        let start = std::time::Instant::now();
        self.advance(rows, pcm, out)
            .map_err(|e| ModelError(e.to_string()))?;
        let all = start.elapsed();
        out.codec = self.backend.took(Part::Codec).unwrap_or_default().min(all);
        out.lm = self
            .backend
            .took(Part::Lm)
            .unwrap_or(all)
            .min(all)
            .saturating_sub(out.codec);
        Ok(())
    }
}
