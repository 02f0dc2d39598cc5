//! Text to speech on a CPU: the language model's step, the text machine's decision, the depformer for rows whose audio has
//! begun, and Mimi's decoder for rows of which a frame is whole.

use std::sync::Arc;
use std::time::Instant;

use super::depformer::{Depformer, Frame};
use super::formats::Formats;
use super::kernels::pool::Pool;
use super::linear::SLACK;
use super::memory::free_bytes;
use super::mimi::MimiDecoder;
use super::sampling::Draw;
use super::speech_lm::{Input, SpeechModel};
use crate::model::error::LoadError;
use crate::model::layout::dtype::{KvFormat, Real, cpu_cache};
use crate::model::layout::memory::{LmWeights, MemoryPlan};
use crate::model::layout::speech::SpeechLm;
use crate::model::layout::speech_memory::VoicePlan;
use crate::model::tts::codes::{Delays, RowCodes};
use crate::model::tts::config::{RowSampling, TtsCheckpoint, TtsConfig};
use crate::model::tts::machine::{Machine, NEW_WORD, PAD, TextInput};
use crate::model::{ModelError, Part, Readiness, Spec, Spoken, StepIo, StreamModel};
use crate::stream::ids::RowId;
use crate::stream::text::TextEntry;
use crate::stream::voice::{Sampling, Voice};

/// Largest sample: what the decoder gives beyond it would be distorted by codecs.
const LOUDEST: f32 = 0.99;

/// Loads a checkpoint with state for `rows` rows, to be computed by `threads` threads.
///
/// # Errors
/// A tensor is missing or wrong, the rows do not fit into memory, or a setting is not one for CPUs.
pub(crate) fn load(
    checkpoint: &TtsCheckpoint<'_>,
    rows: usize,
    threads: usize,
) -> Result<Box<dyn StreamModel>, LoadError> {
    let TtsCheckpoint {
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
    let voices = VoicePlan {
        voices: config.kept_voices + 1,
        steps: config.voice_steps,
    };
    let plan = MemoryPlan::cpu_speech(&config.lm, mimi, weights, cache, voices, rows);
    plan.check(rows, free_bytes(), 0)?;
    let mut pool = Pool::new(threads).map_err(LoadError::Threads)?;
    let delays = config.delays();
    let row = Row::new(config, &delays);
    let mut model = CpuTts {
        spec: config.spec(mimi, rows, plan.row),
        lm: SpeechModel::load(lm, config, rows, formats, &mut pool)?,
        depformer: Depformer::load(lm, &config.lm.depformer(), rows, formats)?,
        decoder: MimiDecoder::load(codec, mimi, config.lm.dep_q, rows)?,
        pool,
        config: config.clone(),
        delays,
        rows: (0..rows).map(|_| row.clone()).collect(),
        batch: Batch::new(rows, &config.lm, mimi.frame_samples()),
    };
    (0..rows).for_each(|row| model.reset_row(RowId(row as u16), 0));
    Ok(Box::new(model))
}

/// What a row remembers between steps, beside its caches.
#[derive(Clone)]
struct Row {
    machine: Machine,
    /// Text that was chosen in the step before.
    text: TextInput,
    codes: RowCodes,
    sampling: RowSampling,
    seed: u64,
}

impl Row {
    fn new(config: &TtsConfig, delays: &Delays) -> Self {
        Self {
            machine: Machine::new(config.rules()),
            text: initial_text(config),
            codes: RowCodes::new(delays),
            sampling: config.row_sampling(&Sampling::default()),
            seed: 0,
        }
    }

    // Number of the draw for `place` (0 is the text, then the codebooks) of this step.
    fn draw(&self, step: u64, place: usize, books: usize) -> u64 {
        step * (books as u64 + 1) + place as u64
    }
}

// The text token that stands before a stream's first.
fn initial_text(config: &TtsConfig) -> TextInput {
    TextInput {
        main: config.lm.text_card as u32,
        second: None,
    }
}

/// Storage of one step.
struct Batch {
    /// Rows whose audio has begun, those with the most codebooks first, and their places in the step.
    frames: Vec<(Frame, usize)>,
    sorted: Vec<Frame>,
    hidden: Vec<f32>,
    logits: Vec<f32>,
    scratch: Vec<f32>,
    /// Rows of which a frame is whole, with its codes and its samples.
    sounding: Vec<RowId>,
    places: Vec<usize>,
    codes: Vec<u32>,
    audio: Vec<f32>,
}

impl Batch {
    fn new(rows: usize, lm: &SpeechLm, samples: usize) -> Self {
        let text = lm.text_head().rows;
        Self {
            frames: Vec::with_capacity(rows),
            sorted: Vec::with_capacity(rows),
            hidden: vec![0.0; rows * lm.dim + SLACK],
            logits: Vec::with_capacity(text),
            scratch: Vec::with_capacity(lm.card.max(text)),
            sounding: Vec::with_capacity(rows),
            places: Vec::with_capacity(rows),
            codes: vec![0; rows * lm.dep_q],
            audio: vec![0.0; rows * samples],
        }
    }
}

/// Language model, depformer and Mimi's decoder, batched by row.
struct CpuTts {
    spec: Spec,
    pool: Pool,
    lm: SpeechModel,
    depformer: Depformer,
    decoder: MimiDecoder,
    config: TtsConfig,
    delays: Delays,
    rows: Vec<Row>,
    batch: Batch,
}

impl CpuTts {
    // Computes the language model and takes its decisions on the text.
    fn text(&mut self, rows: &[RowId], spoken: &mut Vec<Spoken>) {
        let states = &self.rows;
        let inputs = rows.iter().map(|row| {
            let state = &states[row.index()];
            Input {
                row: *row,
                step: state.machine.steps(),
                text: state.text,
                codes: &state.codes,
            }
        });
        self.lm.step(&mut self.pool, rows, inputs);
        let (batch, books) = (&mut self.batch, self.delays.books.len());
        batch.frames.clear();
        for (at, (row, logits)) in rows.iter().zip(self.lm.logits()).enumerate() {
            let state = &mut self.rows[row.index()];
            let (step, sampling) = (state.machine.steps(), state.sampling);
            batch.logits.clear();
            batch.logits.extend_from_slice(logits);
            batch.logits[PAD as usize] += sampling.padding_bonus;
            let draw = Draw {
                temperature: sampling.text_temperature,
                top_k: sampling.text_top_k,
                seed: state.seed,
                number: state.draw(step, 0, books),
            };
            let token = draw.token(&batch.logits, &mut batch.scratch);
            let decision = state.machine.step(token == NEW_WORD);
            state.text = decision.text;
            spoken.extend(decision.begun.map(|entry| Spoken {
                at,
                entry,
                frame: step,
            }));
            let frame = Frame {
                row: *row,
                text: decision.text,
                codebooks: self.delays.needed(step, sampling.codebooks),
            };
            batch.frames.push((frame, at));
        }
        // Stable order of rows, so that a step is the same whatever came before it.
        batch
            .frames
            .sort_unstable_by_key(|(frame, at)| (usize::MAX - frame.codebooks, *at));
    }

    // Chooses the codes of rows whose audio has begun.
    fn codes(&mut self) {
        let (batch, rows, books) = (&mut self.batch, &mut self.rows, self.delays.books.len());
        batch.sorted.clear();
        let begun = batch.frames.iter().map(|(frame, _)| *frame);
        batch.sorted.extend(begun.take_while(|frame| frame.codebooks > 0));
        let d = self.config.lm.dim;
        for ((_, at), hidden) in batch.frames.iter().zip(batch.hidden.chunks_exact_mut(d)) {
            hidden.copy_from_slice(self.lm.hidden(*at));
        }
        let (sorted, scratch) = (&batch.sorted, &mut batch.scratch);
        let mut choose = |i: usize, book: usize, logits: &[f32]| {
            let state = &rows[sorted[i].row.index()];
            let draw = Draw {
                temperature: state.sampling.temperature,
                top_k: state.sampling.top_k,
                seed: state.seed,
                number: state.draw(state.machine.steps() - 1, book + 1, books),
            };
            draw.token(logits, scratch)
        };
        let hidden = &batch.hidden;
        let codes = self.depformer.choose(&mut self.pool, sorted, hidden, &mut choose);
        for (i, (frame, _)) in batch.frames.iter().enumerate() {
            let state = &mut rows[frame.row.index()];
            let codes = codes.get(i * books..(i + 1) * books).unwrap_or_default();
            state
                .codes
                .push(&self.delays, state.machine.steps() - 1, codes, frame.codebooks);
        }
    }

    // Decodes the frames that are whole.
    fn sound(
        &mut self,
        rows: &[RowId],
        audio: &mut Vec<f32>,
        sounds: &mut Vec<bool>,
    ) -> Result<(), ModelError> {
        let (batch, books, frame) = (&mut self.batch, self.delays.books.len(), self.spec.frame_samples);
        batch.sounding.clear();
        batch.places.clear();
        for (at, row) in rows.iter().enumerate() {
            let state = &self.rows[row.index()];
            let codes = &mut batch.codes[batch.sounding.len() * books..][..books];
            let whole = state.codes.frame(&self.delays, state.machine.steps() - 1, codes);
            sounds.push(whole);
            if whole {
                batch.sounding.push(*row);
                batch.places.push(at);
            }
        }
        let n = batch.sounding.len();
        let decoded = &mut batch.audio[..n * frame];
        let codes = &batch.codes[..n * books];
        self.decoder
            .decode(&mut self.pool, &batch.sounding, codes, decoded)?;
        audio.resize(rows.len() * frame, 0.0);
        for (at, samples) in batch.places.iter().zip(decoded.chunks_exact(frame)) {
            let out = audio[at * frame..][..frame].iter_mut();
            out.zip(samples)
                .for_each(|(out, x)| *out = x.clamp(-LOUDEST, LOUDEST));
        }
        Ok(())
    }
}

impl StreamModel for CpuTts {
    fn spec(&self) -> &Spec {
        &self.spec
    }

    fn reset_row(&mut self, row: RowId, seed: u64) {
        let Self {
            spec: _,
            pool: _,
            lm,
            depformer: _,
            decoder,
            config,
            delays: _,
            rows,
            batch: _,
        } = self;
        lm.reset_row(row);
        decoder.reset_row(row);
        // Old codes are never read: each step reads what steps of its own stream wrote.
        let Row {
            machine,
            text,
            codes: _,
            sampling,
            seed: row_seed,
        } = &mut rows[row.index()];
        machine.reset();
        *text = initial_text(config);
        *sampling = config.row_sampling(&Sampling::default());
        *row_seed = seed;
        lm.set_guidance(row, sampling.guidance);
    }

    fn set_sampling(&mut self, row: RowId, sampling: &Sampling) {
        let state = &mut self.rows[row.index()];
        state.sampling = self.config.row_sampling(sampling);
        if let Some(seed) = sampling.seed {
            state.seed = seed;
        }
        self.lm.set_guidance(row, state.sampling.guidance);
    }

    fn set_voice(&mut self, row: RowId, voice: &Arc<Voice>) -> Result<(), ModelError> {
        self.lm.set_voice(&mut self.pool, row, voice)
    }

    fn push_text(&mut self, row: RowId, entry: TextEntry) {
        self.rows[row.index()].machine.push(entry);
    }

    fn end_text(&mut self, row: RowId) {
        self.rows[row.index()].machine.end();
    }

    fn readiness(&self, row: RowId) -> Readiness {
        self.rows[row.index()].machine.readiness()
    }

    fn step(&mut self, io: &mut StepIo<'_>) -> Result<(), ModelError> {
        io.check(&self.spec)?;
        let (rows, out) = (io.rows, &mut *io.out);
        out.clear();
        if let Some(row) = rows.iter().find(|row| self.readiness(**row) == Readiness::Waits) {
            return Err(ModelError(format!(
                "row {} has too little text for a step",
                row.0
            )));
        }
        let start = Instant::now();
        self.text(rows, &mut out.spoken);
        let decided = Instant::now();
        self.codes();
        let chosen = Instant::now();
        self.sound(rows, &mut out.audio, &mut out.sounds)?;
        out.parts.set(Part::Lm, decided - start);
        out.parts.set(Part::Depformer, chosen - decided);
        out.parts.set(Part::MimiDecoder, chosen.elapsed());
        Ok(())
    }
}
