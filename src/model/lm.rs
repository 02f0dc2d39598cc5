//! The delayed-streams language model: one text token out, a frame of audio codes in, 12.5 times a second.
//!
//! Step semantics are those of Kyutai's `stt-1b-en_fr` and `stt-2.6b-en`: at step `f` the model sees the text token it
//! chose at `f - 1` and the codes of frame `f - 1` (initial tokens at `f = 0`).

use super::conditioning;
use super::cpu::gemm::Write;
use super::cpu::matrix::{Matrix, WeightFormat};
use super::cpu::pool::Pool;
use super::error::LoadError;
use super::kv_cache::CacheFormat;
use super::sampling;
use super::transformer::{Feed, Norm, Shape, Transformer, linear};
use super::weights::Weights;
use crate::config::module::{AsrModule, TransformerConfig};
use crate::stream::ids::RowId;

const SLACK: usize = 32;

/// What a row remembers between steps, beside its caches.
#[derive(Clone, Copy)]
struct RowState {
    token: u32,
    steps: u64,
    seed: u64,
}

/// Weights and per-row state of the language model.
pub(crate) struct Lm {
    text_embedding: Matrix,
    audio_embeddings: Vec<Matrix>,
    transformer: Transformer,
    out_norm: Norm,
    text_head: Matrix,
    pause_heads: Vec<Matrix>,
    /// Added to every input where the checkpoint is conditioned.
    condition: Option<Vec<f32>>,
    temperature: f64,
    initial: RowState,
    initial_code: u32,
    rows: Vec<RowState>,
    /// Codes of each row's previous frame, `[row][codebook]`.
    codes: Vec<u32>,
    x: Vec<f32>,
    hidden: Vec<f32>,
    logits: Vec<f32>,
    pause_logits: Vec<f32>,
}

impl Lm {
    /// Loads the model that `module` describes. `format` overrides how linear weights are held.
    pub(crate) fn load(
        w: &Weights,
        module: &AsrModule,
        rows: usize,
        (format, cache): (Option<WeightFormat>, CacheFormat),
    ) -> Result<Self, LoadError> {
        let (m, t) = (&module.model, &module.model.transformer);
        supported(t)?;
        let d = t.d_model;
        // Embeddings are gathered, not multiplied: quantising them would cost accuracy and gain nothing.
        let gathered = if format == Some(WeightFormat::Q8) {
            None
        } else {
            format
        };
        let embedding = |name: &str, entries| w.matrix(&format!("{name}.weight"), entries, d, gathered);
        let audio = (0..m.audio_codebooks).map(|i| embedding(&format!("emb.{i}"), m.audio_vocab_size));
        let (heads, classes) = m.extra_heads.as_ref().map_or((0, 0), |h| (h.num_heads, h.dim));
        let pause_heads = (0..heads).map(|i| w.matrix(&format!("extra_heads.{i}.weight"), classes, d, None));
        let shape = Shape {
            dim: d,
            heads: t.num_heads,
            layers: t.num_layers,
            hidden: gated_width(t),
            feed: Feed::SwiGlu,
            context: t.context,
            max_period: t.max_period,
            layer_scale: false,
            tokens: 1,
        };
        let initial = RowState {
            token: initial_token(m.text_in_vocab_size, "text_in_vocab_size")?,
            steps: 0,
            seed: 0,
        };
        let initial_code = initial_token(m.audio_vocab_size, "audio_vocab_size")?;
        Ok(Self {
            text_embedding: embedding("text_emb", m.text_in_vocab_size)?,
            audio_embeddings: audio.collect::<Result<_, _>>()?,
            transformer: Transformer::load(w, "transformer", shape, rows, (format, cache))?,
            out_norm: Norm::load(w, "out_norm", d, Feed::SwiGlu)?,
            text_head: w.matrix("text_linear.weight", m.text_out_vocab_size, d, format)?,
            pause_heads: pause_heads.collect::<Result<_, _>>()?,
            condition: conditioning::load(w, module)?,
            temperature: module.temperature,
            initial,
            initial_code,
            rows: vec![initial; rows],
            codes: vec![initial_code; rows * m.audio_codebooks],
            x: vec![0.0; rows * d],
            hidden: vec![0.0; rows * d + SLACK],
            logits: vec![0.0; rows * m.text_out_vocab_size],
            pause_logits: vec![0.0; classes],
        })
    }

    /// Returns `row` to the start of a stream that samples with `seed`.
    pub(crate) fn reset_row(&mut self, row: RowId, seed: u64) {
        self.transformer.reset_row(row);
        self.rows[row.index()] = RowState { seed, ..self.initial };
        let books = self.audio_embeddings.len();
        self.codes[row.index() * books..][..books].fill(self.initial_code);
    }

    /// One step of each of `rows`. `codes` (`rows × codebooks`) are those of the current frame, heard at the next step.
    /// Writes one token a row and `rows × heads` pause probabilities.
    pub(crate) fn step(
        &mut self,
        pool: &mut Pool,
        rows: &[RowId],
        codes: &[u32],
        tokens: &mut Vec<u32>,
        pauses: &mut Vec<f32>,
    ) {
        let (n, d, books) = (rows.len(), self.text_head.cols, self.audio_embeddings.len());
        for ((row, x), new) in rows
            .iter()
            .zip(self.x.chunks_exact_mut(d))
            .zip(codes.chunks_exact(books))
        {
            match &self.condition {
                Some(condition) => x.copy_from_slice(condition),
                None => x.fill(0.0),
            }
            self.text_embedding
                .add_row_to(self.rows[row.index()].token as usize, x);
            let previous = &mut self.codes[row.index() * books..][..books];
            for (embedding, code) in self.audio_embeddings.iter().zip(&*previous) {
                embedding.add_row_to(*code as usize, x);
            }
            previous.copy_from_slice(new);
        }
        let x = &mut self.x[..n * d];
        self.transformer.forward(pool, rows, x);
        self.out_norm.apply(x, &mut self.hidden[..n * d]);
        linear(
            pool,
            &self.text_head,
            n,
            &self.hidden,
            d,
            &mut self.logits,
            Write::Set,
        );
        tokens.clear();
        for (row, logits) in rows.iter().zip(self.logits.chunks_exact(self.text_head.rows)) {
            let state = &mut self.rows[row.index()];
            state.token = if self.temperature > 0.0 {
                sampling::gumbel(logits, self.temperature, state.seed, state.steps)
            } else {
                sampling::argmax(logits)
            };
            state.steps += 1;
            tokens.push(state.token);
        }
        pauses.clear();
        for i in 0..n {
            for head in &self.pause_heads {
                linear(
                    pool,
                    head,
                    1,
                    &self.hidden[i * d..],
                    d,
                    &mut self.pause_logits,
                    Write::Set,
                );
                pauses.push(first_class(&self.pause_logits));
            }
        }
    }

    /// Text logits of the last step, `rows × text_out_vocab_size`.
    #[cfg(test)]
    pub(crate) fn logits(&self) -> &[f32] {
        &self.logits
    }
}

// Softmax, class 0.
fn first_class(logits: &[f32]) -> f32 {
    let top = logits.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    let total: f32 = logits.iter().map(|x| (x - top).exp()).sum();
    (logits[0] - top).exp() / total
}

/// Width of the gated hidden layer, as Kyutai's configurations imply it: 11/4 of the width where `dim_feedforward` is
/// written as four times it, two thirds of `dim_feedforward` otherwise.
pub(crate) fn gated_width(t: &TransformerConfig) -> usize {
    if t.dim_feedforward == 4 * t.d_model {
        11 * t.d_model / 4
    } else {
        2 * t.dim_feedforward / 3
    }
}

// Vocabularies end with the token that only ever stands before a stream's first.
pub(crate) fn initial_token(vocabulary: usize, key: &str) -> Result<u32, LoadError> {
    let last = vocabulary.checked_sub(1).and_then(|n| u32::try_from(n).ok());
    last.ok_or_else(|| LoadError::Config(format!("{key} is {vocabulary}, which is no vocabulary size")))
}

pub(crate) fn supported(t: &TransformerConfig) -> Result<(), LoadError> {
    let wrong = [
        (!t.causal, "causal = false"),
        (!t.norm_first, "norm_first = false"),
        (t.bias_ff, "bias_ff = true"),
        (t.bias_attn, "bias_attn = true"),
        (t.layer_scale.is_some(), "layer_scale"),
        (t.use_conv_block, "use_conv_block = true"),
        (t.kv_repeat != 1, "kv_repeat other than 1"),
        (t.gating.as_deref() != Some("silu"), "gating other than \"silu\""),
        (t.norm != "RmsNorm", "norm other than \"RmsNorm\""),
        (
            t.positional_embedding != "Rope",
            "positional_embedding other than \"Rope\"",
        ),
    ];
    match wrong.iter().find(|(is, _)| *is) {
        Some((_, what)) => Err(LoadError::Config(format!(
            "model.transformer: {what} is not supported; no published speech-to-text checkpoint uses it"
        ))),
        None => Ok(()),
    }
}
