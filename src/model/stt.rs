//! Speech-to-text: Mimi and the language model behind [`StreamModel`].

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::cpu::matrix::WeightFormat;
use super::cpu::pool::Pool;
use super::device::Device;
use super::error::LoadError;
use super::kv_cache::CacheFormat;
use super::lm::Lm;
use super::memory;
use super::mimi::MimiEncoder;
use super::mimi::config::MimiConfig;
use super::tokenizer::Tokenizer;
use super::weights::Weights;
use super::{ModelError, ModelSpec, StepOutput, StreamModel};
use crate::config::module::AsrModule;
use crate::stream::ids::RowId;

/// How to load a model.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// Rows to make state for.
    pub rows: usize,
    /// Threads that compute a step, the calling one included.
    pub threads: usize,
    pub device: Device,
}

/// A loaded model and the text of its tokens.
pub struct Loaded {
    pub model: Box<dyn StreamModel>,
    pub text: Arc<Tokenizer>,
}

/// Loads the checkpoint of `module`, whose file names are paths by now.
///
/// Fails where a file is missing, broken or belongs to another configuration, and where `rows` do not fit in memory.
pub fn load(module: &AsrModule, options: LoadOptions) -> Result<Loaded, LoadError> {
    let text = Tokenizer::open(Path::new(&module.text_tokenizer_file))?;
    if text.len() != module.model.text_out_vocab_size {
        return Err(LoadError::Vocabulary {
            path: module.text_tokenizer_file.clone().into(),
            found: text.len(),
            expected: module.model.text_out_vocab_size,
        });
    }
    let codec = Weights::open(Path::new(&module.audio_tokenizer_file))?;
    let lm = Weights::open(Path::new(&module.lm_model_file))?;
    let config = MimiConfig::of(&codec)?;
    let model = match options.device {
        Device::Cpu => on_cpu(module, (&codec, &lm), &config, options)?,
        #[cfg(feature = "cuda")]
        Device::Cuda(ordinal) => super::cuda::load(module, (&codec, &lm), &config, options.rows, ordinal)?,
    };
    Ok(Loaded {
        model,
        text: Arc::new(text),
    })
}

fn on_cpu(
    module: &AsrModule,
    (codec, lm): (&Weights, &Weights),
    config: &MimiConfig,
    options: LoadOptions,
) -> Result<Box<dyn StreamModel>, LoadError> {
    let format = module
        .dtype_override
        .as_deref()
        .map(str::parse::<WeightFormat>)
        .transpose()?;
    let cache = match module.kv_cache_dtype.as_deref() {
        None | Some("f32") => CacheFormat::F32,
        Some("bf16") => CacheFormat::Bf16,
        Some(name) => {
            return Err(LoadError::Config(format!(
                "kv_cache_dtype `{name}` is not for CPUs, where keys and values are held as f32 or bf16"
            )));
        }
    };
    let need = memory::Need::of(lm, codec, module, config, (format, cache));
    need.check(options.rows)?;
    let books = module.model.audio_codebooks;
    let mimi = MimiEncoder::load(codec, config, books, options.rows)?;
    let lm = Lm::load(lm, module, options.rows, (format, cache))?;
    let frame = config.frame_samples();
    let spec = ModelSpec {
        rows: options.rows,
        sample_rate: config.sample_rate,
        frame_samples: frame,
        delay_frames: delay_frames(module, config.frame_rate),
        vad_heads: module.model.extra_heads.as_ref().map_or(0, |h| h.num_heads),
        bytes_per_row: need.row,
    };
    Ok(Box::new(SttModel {
        pool: Pool::new(options.threads).map_err(LoadError::Threads)?,
        codes: vec![0; options.rows * books],
        pcm: vec![0.0; options.rows * frame],
        books,
        spec,
        mimi,
        lm,
    }))
}

/// Frames by which text lags audio: the configured delay, or what a conditioned delay in seconds comes to.
pub fn delay_frames(module: &AsrModule, frame_rate: f64) -> u32 {
    module
        .conditioning_delay
        .map_or(module.asr_delay_in_tokens, |seconds| {
            (f64::from(seconds) * frame_rate).floor() as u32 + 1
        })
}

/// Mimi's encoder and the language model, batched by row, on the CPU.
struct SttModel {
    spec: ModelSpec,
    pool: Pool,
    mimi: MimiEncoder,
    lm: Lm,
    books: usize,
    codes: Vec<u32>,
    pcm: Vec<f32>,
}

impl StreamModel for SttModel {
    fn spec(&self) -> &ModelSpec {
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
            pcm: _,
        } = self;
        mimi.reset_row(row);
        lm.reset_row(row, seed);
    }

    fn step(&mut self, rows: &[RowId], pcm: &[f32], out: &mut StepOutput) -> Result<(), ModelError> {
        let samples = rows.len() * self.spec.frame_samples;
        if pcm.len() != samples || rows.iter().any(|row| row.index() >= self.spec.rows) {
            return Err(ModelError(format!(
                "{} samples for rows {rows:?} of {}",
                pcm.len(),
                self.spec.rows
            )));
        }
        self.pcm
            .iter_mut()
            .zip(pcm)
            .for_each(|(to, from)| *to = clean(*from));
        let start = Instant::now();
        let codes = &mut self.codes[..rows.len() * self.books];
        self.mimi
            .encode(&mut self.pool, rows, &self.pcm[..samples], codes);
        out.codec = start.elapsed();
        self.lm
            .step(&mut self.pool, rows, codes, &mut out.tokens, &mut out.pauses);
        out.lm = start.elapsed() - out.codec;
        Ok(())
    }
}

/// A sample the models may hear. A NaN would live in the row's caches for ever; samples beyond full scale are clipping,
/// not signal.
pub(super) fn clean(x: f32) -> f32 {
    if x.is_finite() { x.clamp(-1.0, 1.0) } else { 0.0 }
}
