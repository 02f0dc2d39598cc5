//! The step at the published models' sizes, with random weights and full rings.

use std::cell::Cell;
use std::time::Instant;

use anyhow::Context as _;
use half::bf16;

use super::forced::Forced;
use super::parity::{BF16, FP8, audio};
use super::{Report, Size};
use crate::model::cuda::driver::Driver;
use crate::model::cuda::driver::presence::presence;
use crate::model::cuda::source::WeightSource;
use crate::model::cuda::stt::{CudaStt, Setup};
use crate::model::error::LoadError;
use crate::model::layout::dtype::{Cache, Real};
use crate::model::layout::lm::{ExtraHeads, LmConfig, TransformerConfig};
use crate::model::layout::mimi::MimiConfig;
use crate::model::stt::{Conditioning, SttConfig};
use crate::model::{ModelError, Part, StepIo, StepOutput, StreamModel};
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::ids::RowId;

pub(super) const ROWS: [usize; 6] = [64, 128, 256, 400, 800, 1200];
const WARM_STEPS: usize = 10;
const STEPS: usize = 100;

pub(super) struct Model {
    pub(super) name: &'static str,
    rows: &'static [usize],
    pub(super) cache: Cache,
    pub(super) heads: usize,
    layers: usize,
    pub(super) context: usize,
    text: usize,
    pause_heads: usize,
    /// Weights that a step reads.
    read: f64,
    /// GFLOP per row and step.
    gflop: f64,
}

const STT_1B: Model = Model {
    name: "stt-1b",
    rows: &ROWS,
    cache: Cache::Plain(Real::Bf16),
    heads: 16,
    layers: 16,
    context: 750,
    text: 8000,
    pause_heads: 4,
    read: 838e6,
    gflop: 1.78,
};

pub(super) const MODELS: [Model; 3] = [
    STT_1B,
    Model {
        name: "stt-1b fp8",
        rows: &[400, 800, 1200, 2000],
        cache: Cache::Fp8,
        ..STT_1B
    },
    Model {
        name: "stt-2.6b",
        rows: &ROWS,
        cache: Cache::Plain(Real::Bf16),
        heads: 32,
        layers: 48,
        context: 375,
        text: 4000,
        pause_heads: 0,
        read: 2474e6,
        gflop: 5.10,
    },
];

pub(super) const DIM: usize = 2048;

impl Model {
    fn config(&self) -> SttConfig {
        SttConfig {
            lm_file: Default::default(),
            codec_file: Default::default(),
            tokenizer_file: Default::default(),
            text_delay: 6,
            conditioning: Conditioning::default(),
            temperature: 0.0,
            weights: None,
            kv_cache: None,
            lm: LmConfig {
                audio_vocab_size: 2049,
                text_in_vocab_size: self.text + 1,
                text_out_vocab_size: self.text,
                audio_codebooks: 32,
                transformer: TransformerConfig {
                    d_model: DIM,
                    num_heads: self.heads,
                    num_layers: self.layers,
                    dim_feedforward: DIM * 4,
                    context: self.context,
                    max_period: 100_000.0,
                    gating: Some("silu".to_owned()),
                    norm: "RmsNorm".to_owned(),
                    positional_embedding: "Rope".to_owned(),
                    causal: true,
                    norm_first: true,
                    bias_ff: false,
                    bias_attn: false,
                    layer_scale: None,
                    use_conv_block: false,
                    kv_repeat: 1,
                },
                extra_heads: (self.pause_heads > 0).then_some(ExtraHeads {
                    num_heads: self.pause_heads,
                    dim: 6,
                }),
                conditioners: Default::default(),
            },
        }
    }

    fn ideal_ms(&self, rows: usize) -> f64 {
        let vector = self.cache.bytes(DIM / self.heads);
        let keys_and_values = (self.layers * 2 * self.context * self.heads * vector) as f64;
        let row = keys_and_values / 4.8e12 + self.gflop / 790e3 + 0.47 / 50e3;
        (self.read * 2.0 / 4.8e12 + rows as f64 * row) * 1e3
    }

    // With random weights, always the same.
    fn load(&self, rows: usize, real: Real, cache: Cache) -> Result<CudaStt<Driver>, LoadError> {
        let (codec, lm) = (
            WeightSource::Random(Cell::new(1)),
            WeightSource::Random(Cell::new(2)),
        );
        let setup = Setup { rows, real, cache };
        let (config, mimi) = (self.config(), MimiConfig::published());
        CudaStt::load(Driver::open(0)?, &config, &mimi, (&codec, &lm), setup)
    }

    // With the largest of its numbers of rows that the device has room for.
    fn open(&self) -> anyhow::Result<(CudaStt<Driver>, usize)> {
        let mut last = None;
        for rows in self.rows.iter().rev().copied() {
            match self.load(rows, Real::Bf16, self.cache) {
                Ok(engine) => return Ok((engine, rows)),
                Err(e @ LoadError::Memory { .. }) => last = Some(e),
                Err(e) => return Err(e.into()),
            }
        }
        Err(last.map_or_else(|| anyhow::anyhow!("no sizes"), Into::into))
    }
}

/// A model of a published shape on GPU 0, with random weights, ready to be stepped at any of its sizes with full rings.
pub struct Stand {
    model: &'static Model,
    engine: CudaStt<Driver>,
    sizes: Vec<usize>,
    ids: Vec<RowId>,
    pcm: Vec<f32>,
    out: StepOutput,
}

impl Stand {
    /// Returns the names of the models.
    pub fn names() -> impl Iterator<Item = &'static str> {
        MODELS.iter().map(|model| model.name)
    }

    /// Loads the model called `name` with as many rows as the device has room for, and captures a graph for each size.
    ///
    /// # Errors
    /// There is no such model or no GPU, the GPU has no room for the smallest size, or it failed.
    pub fn open(name: &str) -> anyhow::Result<Self> {
        presence(0).map_err(anyhow::Error::msg)?;
        let model = MODELS.iter().find(|model| model.name == name);
        let model = model.with_context(|| format!("no model {name}"))?;
        let (mut engine, most) = model.open()?;
        let sizes: Vec<usize> = model.rows.iter().copied().filter(|rows| *rows <= most).collect();
        engine.set_buckets(sizes.clone());
        engine.warm_up()?;
        // Numbers of order one: nothing is timed on zeros.
        let piece = bytes_of(&noise(1_048_573));
        for (at, bytes) in engine.rings() {
            engine.backend().fill(at, bytes, &piece)?;
        }
        Ok(Self {
            model,
            engine,
            sizes,
            ids: Vec::new(),
            pcm: Vec::new(),
            out: StepOutput::default(),
        })
    }

    /// Returns the numbers of rows that fit, in ascending order.
    pub fn sizes(&self) -> &[usize] {
        &self.sizes
    }

    /// Makes the steps that follow ones of `rows` rows, each at full context.
    pub fn take(&mut self, rows: usize) {
        self.ids = (0..rows).map(|row| RowId(row as u16)).collect();
        for row in &self.ids {
            self.engine.set_age(*row, 2 * self.model.context as u64);
        }
        let wave = |i: usize| ((i * i % 7919) as f32 / 7919.0 - 0.5) * 0.3;
        self.pcm = (0..rows * FRAME_SAMPLES).map(wave).collect();
    }

    /// Computes one step and waits for its end.
    ///
    /// # Errors
    /// The device failed.
    pub fn step(&mut self) -> Result<(), ModelError> {
        self.engine.step(&mut StepIo {
            rows: &self.ids,
            audio: &self.pcm,
            out: &mut self.out,
        })
    }
}

/// Returns `n` values between -1 and 1, always the same. A prime number of them, repeated, makes no two rows alike.
pub(super) fn noise(n: usize) -> Vec<bf16> {
    let mut state = 1u32;
    let next = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        bf16::from_f32((state >> 8) as f32 / (1 << 23) as f32 - 1.0)
    };
    (0..n).map(next).collect()
}

pub(super) fn bytes_of(values: &[bf16]) -> Vec<u8> {
    values.iter().flat_map(|x| x.to_le_bytes()).collect()
}

/// Compares bf16 with f32 at the true shape of stt-1b, one row and random weights that both hold exactly.
pub(super) fn formats(report: &mut Report, frames: usize) -> anyhow::Result<()> {
    let mut exact = STT_1B.load(1, Real::F32, Cache::Plain(Real::F32))?;
    let mut forced = Vec::new();
    for (cache, what) in [(STT_1B.cache, BF16), (Cache::Fp8, FP8)] {
        forced.push((Forced::new(STT_1B.load(1, Real::Bf16, cache)?), what));
    }
    let mut out = StepOutput::default();
    for frame in audio(5, frames).chunks_exact(FRAME_SAMPLES) {
        exact.step(&mut StepIo {
            rows: &[RowId(0)],
            audio: frame,
            out: &mut out,
        })?;
        let logits = exact.logits(1).map_err(|e| ModelError(e.to_string()))?;
        for (forced, _) in &mut forced {
            forced.step(frame, &logits[..STT_1B.text], out.tokens[0])?;
        }
    }
    for (forced, (what, bar)) in forced {
        report.add(forced.check(format!("{}: {what}", STT_1B.name), bar));
    }
    Ok(())
}

/// Measures the model called `name` at every size that fits, all rows at full context.
pub(super) fn sizes(name: &str, report: &mut Report) -> anyhow::Result<()> {
    let mut stand = Stand::open(name)?;
    for rows in stand.sizes().to_vec() {
        let size = measure(&mut stand, rows)?;
        // At once, too: the run may be cut off.
        eprintln!("{}", serde_json::to_string(&size)?);
        report.sizes.push(size);
    }
    Ok(())
}

// Milliseconds of `n` steps, and of the codec in them, both sorted.
fn timed(stand: &mut Stand, n: usize) -> Result<(Vec<f64>, Vec<f64>), ModelError> {
    let (mut times, mut codec) = (Vec::new(), Vec::new());
    for i in 0..WARM_STEPS + n {
        let start = Instant::now();
        stand.step()?;
        if i >= WARM_STEPS {
            times.push(start.elapsed().as_secs_f64() * 1e3);
            codec.push(stand.out.parts.of(Part::MimiEncoder).as_secs_f64() * 1e3);
        }
    }
    times.sort_by(f64::total_cmp);
    codec.sort_by(f64::total_cmp);
    Ok((times, codec))
}

fn measure(stand: &mut Stand, rows: usize) -> anyhow::Result<Size> {
    stand.take(rows);
    let (times, codec) = timed(stand, STEPS)?;
    stand.engine.backend().set_abreast(false);
    let (serial, _) = timed(stand, STEPS / 4)?;
    stand.engine.backend().set_abreast(true);
    stand.engine.backend().profile(true);
    let (start, n) = (Instant::now(), 5);
    for _ in 0..n {
        stand.step()?;
    }
    let eager = start.elapsed().as_secs_f64() * 1e3 / f64::from(n);
    let spans = stand.engine.backend().profile(false);
    Ok(Size {
        model: stand.model.name,
        rows,
        p50: times[STEPS / 2],
        p99: times[STEPS * 99 / 100],
        codec: codec[STEPS / 2],
        serial: serial[serial.len() / 2],
        eager,
        ideal: stand.model.ideal_ms(rows),
        stages: spans
            .into_iter()
            .map(|(span, s)| (format!("{span:?}"), s * 1e3 / f64::from(n)))
            .collect(),
    })
}
