//! The step at the published models' sizes, with random weights and full rings.

use std::cell::Cell;
use std::time::Instant;

use super::{Check, Report, Size};
use crate::config::module::{AsrModule, ExtraHeads, LmConfig, TransformerConfig};
use crate::model::cuda::backend::Real;
use crate::model::cuda::driver::Driver;
use crate::model::cuda::engine::{Engine, Setup};
use crate::model::cuda::source::Source;
use crate::model::error::LoadError;
use crate::model::mimi::config::MimiConfig;
use crate::model::{StepOutput, StreamModel};
use crate::pipeline::ids::RowId;

const ROWS: [usize; 6] = [64, 128, 256, 400, 800, 1200];
const WARM_STEPS: usize = 10;
const STEPS: usize = 100;

struct Model {
    name: &'static str,
    heads: usize,
    layers: usize,
    context: usize,
    text: usize,
    pause_heads: usize,
    /// Weights that a step reads, all weights, and GFLOP of a row's step.
    read: f64,
    all: u64,
    gflop: f64,
}

const MODELS: [Model; 2] = [
    Model {
        name: "stt-1b",
        heads: 16,
        layers: 16,
        context: 750,
        text: 8000,
        pause_heads: 4,
        read: 838e6,
        all: 989_000_000,
        gflop: 1.78,
    },
    Model {
        name: "stt-2.6b",
        heads: 32,
        layers: 48,
        context: 375,
        text: 4000,
        pause_heads: 0,
        read: 2474e6,
        all: 2_617_000_000,
        gflop: 5.10,
    },
];

const DIM: usize = 2048;

impl Model {
    fn module(&self, rows: usize) -> AsrModule {
        AsrModule {
            path: "/".to_owned(),
            lm_model_file: String::new(),
            text_tokenizer_file: String::new(),
            audio_tokenizer_file: String::new(),
            asr_delay_in_tokens: 6,
            batch_size: rows,
            temperature: 0.0,
            conditioning_delay: None,
            conditioning_learnt_padding: false,
            dtype_override: None,
            log_frequency_s: None,
            model: LmConfig {
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
        let keys_and_values = (self.layers * 2 * self.context * DIM * 2) as f64;
        let row = keys_and_values / 4.8e12 + self.gflop / 790e3 + 0.47 / 50e3;
        (self.read * 2.0 / 4.8e12 + rows as f64 * row) * 1e3
    }

    // The most rows of `ROWS` that the device has room for.
    fn open(&self) -> anyhow::Result<(Engine<Driver>, usize)> {
        let config = MimiConfig::published();
        let mut last = None;
        for rows in ROWS.into_iter().rev() {
            let (codec, lm) = (Source::Random(Cell::new(1)), Source::Random(Cell::new(2)));
            let setup = Setup {
                rows,
                real: Real::Bf16,
            };
            let bytes = self.all * 2 + (400 << 20);
            match Engine::load(
                Driver::open(0)?,
                &self.module(rows),
                (&codec, &lm),
                &config,
                (setup, bytes),
            ) {
                Ok(engine) => return Ok((engine, rows)),
                Err(e @ LoadError::Memory { .. }) => last = Some(e),
                Err(e) => return Err(e.into()),
            }
        }
        Err(last.map_or_else(|| anyhow::anyhow!("no sizes"), Into::into))
    }
}

/// Measures both models at every size that fits, all rows at full context.
pub(super) fn sizes(report: &mut Report) -> anyhow::Result<()> {
    for model in &MODELS {
        let (mut engine, most) = match model.open() {
            Ok(opened) => opened,
            Err(e) => {
                report.checks.push(Check {
                    name: format!("{}: measured", model.name),
                    passed: false,
                    detail: e.to_string(),
                });
                continue;
            }
        };
        let fitting: Vec<usize> = ROWS.into_iter().filter(|rows| *rows <= most).collect();
        engine.set_buckets(fitting.clone());
        engine.warm_up()?;
        engine.fill_rings()?;
        for rows in fitting {
            let size = measure(&mut engine, model, rows)?;
            // At once, too: the run may be cut off.
            eprintln!("{}", serde_json::to_string(&size)?);
            report.sizes.push(size);
        }
    }
    Ok(())
}

fn measure(engine: &mut Engine<Driver>, model: &Model, rows: usize) -> anyhow::Result<Size> {
    let ids: Vec<RowId> = (0..rows).map(|row| RowId(row as u16)).collect();
    ids.iter()
        .for_each(|row| engine.age(*row, 2 * model.context as u64));
    let wave = |i: usize| ((i * i % 7919) as f32 / 7919.0 - 0.5) * 0.3;
    let pcm: Vec<f32> = (0..rows * 1920).map(wave).collect();
    let mut out = StepOutput::default();
    let (mut times, mut codec) = (Vec::new(), Vec::new());
    for i in 0..WARM_STEPS + STEPS {
        let start = Instant::now();
        engine.step(&ids, &pcm, &mut out)?;
        if i >= WARM_STEPS {
            times.push(start.elapsed().as_secs_f64() * 1e3);
            codec.push(out.codec.as_secs_f64() * 1e3);
        }
    }
    engine.backend().profile(true);
    let (start, n) = (Instant::now(), 5);
    for _ in 0..n {
        engine.step(&ids, &pcm, &mut out)?;
    }
    let eager = start.elapsed().as_secs_f64() * 1e3 / f64::from(n);
    let stages = engine.backend().profile(false);
    times.sort_by(f64::total_cmp);
    codec.sort_by(f64::total_cmp);
    Ok(Size {
        model: model.name,
        rows,
        p50: times[STEPS / 2],
        p99: times[STEPS * 99 / 100],
        codec: codec[STEPS / 2],
        eager,
        ideal: model.ideal_ms(rows),
        stages: stages
            .into_iter()
            .map(|(stage, s)| (format!("{stage:?}"), s * 1e3 / f64::from(n)))
            .collect(),
    })
}
