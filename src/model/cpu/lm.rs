//! The delayed-streams language model: one text token out and a frame of audio codes in, 12.5 times per second.
//!
//! Step semantics are those of Kyutai's `stt-1b-en_fr` and `stt-2.6b-en`: at step `f` the model sees the text token that
//! it chose at `f - 1` and the codes of frame `f - 1` (initial tokens at `f = 0`).

use super::backbone::Backbone;
use super::formats::Formats;
use super::kernels::gemm::Write;
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use super::linear::{linear, matrix};
use super::sampling;
use crate::model::conditioning;
use crate::model::error::LoadError;
use crate::model::layout::dtype::WeightFormat;
use crate::model::layout::lm::{TEXT_EMBEDDING, TEXT_HEAD, audio_embedding, extra_head};
use crate::model::layout::transformer::MatrixLayout;
use crate::model::stt::config::SttConfig;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

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
    backbone: Backbone,
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
    pause_logits: Vec<f32>,
}

impl Lm {
    /// Loads the language model of `config` with state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or a setting is not supported.
    pub(crate) fn load(
        w: &Weights,
        config: &SttConfig,
        rows: usize,
        formats: Formats,
    ) -> Result<Self, LoadError> {
        let lm = &config.lm;
        lm.supported()?;
        let (shape, books) = (lm.shape(), lm.audio_codebooks);
        let (d, vocabulary, classes) = (shape.dim, lm.text_out_vocab_size, lm.pause_classes());
        let table = |name: String, rows, format| matrix(w, &MatrixLayout::new(name, rows, d), format);
        let text_head = MatrixLayout::new(TEXT_HEAD.to_owned(), vocabulary, d);
        // Embeddings are gathered, not multiplied: quantising them would cost accuracy and gain nothing.
        let gathered = formats.weights.filter(|format| *format != WeightFormat::Q8);
        let audio = (0..books).map(|i| table(audio_embedding(i), lm.audio_vocab_size, gathered));
        let pause_heads = (0..lm.pause_heads()).map(|i| table(extra_head(i), classes, None));
        let initial = RowState {
            token: lm.initial_token()?,
            steps: 0,
            seed: 0,
        };
        let initial_code = lm.initial_code()?;
        Ok(Self {
            text_embedding: table(TEXT_EMBEDDING.to_owned(), lm.text_in_vocab_size, gathered)?,
            audio_embeddings: audio.collect::<Result<_, _>>()?,
            backbone: Backbone::load(w, shape, &text_head, rows, formats)?,
            pause_heads: pause_heads.collect::<Result<_, _>>()?,
            condition: conditioning::load(w, lm, config.conditioning)?,
            temperature: config.temperature,
            initial,
            initial_code,
            rows: vec![initial; rows],
            codes: vec![initial_code; rows * books],
            x: vec![0.0; rows * d],
            pause_logits: vec![0.0; classes],
        })
    }

    /// Returns `row` to the start of a stream that samples with `seed`.
    pub(crate) fn reset_row(&mut self, row: RowId, seed: u64) {
        self.backbone.reset_row(row);
        self.rows[row.index()] = RowState { seed, ..self.initial };
        let books = self.audio_embeddings.len();
        self.codes[row.index() * books..][..books].fill(self.initial_code);
    }

    /// Computes one step of each of `rows`. `codes` (`rows × codebooks`) are those of the current frame, which the model
    /// sees at the next step. Writes one token per row and `rows × heads` pause probabilities.
    pub(crate) fn step(
        &mut self,
        pool: &mut Pool,
        rows: &[RowId],
        codes: &[u32],
        tokens: &mut Vec<u32>,
        pauses: &mut Vec<f32>,
    ) {
        let (n, d) = (rows.len(), self.backbone.width());
        self.embed(rows, codes);
        self.backbone.forward(pool, rows, &mut self.x[..n * d], None);
        self.choose(rows, tokens);
        pauses.clear();
        for i in 0..n {
            let (hidden, logits) = (&self.backbone.hidden()[i * d..], &mut self.pause_logits);
            for head in &self.pause_heads {
                linear(pool, head, 1, hidden, d, logits, Write::Set);
                pauses.push(first_class(logits));
            }
        }
    }

    // Sums the embeddings of what each row said last and of its previous codes; then `codes` are the previous ones.
    fn embed(&mut self, rows: &[RowId], codes: &[u32]) {
        let (d, books) = (self.backbone.width(), self.audio_embeddings.len());
        let frames = self.x.chunks_exact_mut(d).zip(codes.chunks_exact(books));
        for (row, (x, new)) in rows.iter().zip(frames) {
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
    }

    fn choose(&mut self, rows: &[RowId], tokens: &mut Vec<u32>) {
        tokens.clear();
        for (row, logits) in rows.iter().zip(self.backbone.logits()) {
            let state = &mut self.rows[row.index()];
            state.token = if self.temperature > 0.0 {
                sampling::gumbel(logits, self.temperature, state.seed, state.steps)
            } else {
                sampling::argmax(logits)
            };
            state.steps += 1;
            tokens.push(state.token);
        }
    }

    /// Returns the text logits of the last step, of one row.
    #[cfg(test)]
    pub(crate) fn logits(&self) -> &[f32] {
        self.backbone.logits().next().unwrap()
    }
}

// Probability of class 0 by softmax.
fn first_class(logits: &[f32]) -> f32 {
    let top = logits.iter().fold(f32::NEG_INFINITY, |m, x| m.max(*x));
    let total: f32 = logits.iter().map(|x| (x - top).exp()).sum();
    (logits[0] - top).exp() / total
}
