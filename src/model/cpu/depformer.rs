//! The depformer on a CPU: the codes of one frame, codebook by codebook, batched by row.

use super::embedding::Embedding;
use super::formats::Formats;
use super::kernels::gemm::Write;
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use super::linear::{SLACK, linear, matrix};
use super::transformer::Transformer;
use crate::model::error::LoadError;
use crate::model::layout::depformer::{DepformerConfig, Spelling};
use crate::model::tts::machine::TextInput;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// Weights, and scratch of one frame: nothing is kept from frame to frame.
pub(crate) struct Depformer {
    /// From the language model's hidden vector, per set of weights.
    inputs: Vec<Matrix>,
    /// Of what was chosen before, per codebook: the text, then codes.
    embeddings: Vec<Embedding>,
    heads: Vec<Matrix>,
    schedule: Vec<usize>,
    transformer: Transformer,
    rows: Vec<RowId>,
    text: Vec<TextInput>,
    /// `[frame][codebook]`
    codes: Vec<u32>,
    x: Vec<f32>,
    logits: Vec<f32>,
}

/// One row's part of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame {
    pub(crate) row: RowId,
    /// The text that was chosen in the same step.
    pub(crate) text: TextInput,
    /// Codebooks to compute, from the first on.
    pub(crate) codebooks: usize,
}

impl Depformer {
    /// Loads a depformer for up to `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or the kernels do not take the shape.
    pub(crate) fn load(
        w: &Weights,
        config: &DepformerConfig,
        rows: usize,
        formats: Formats,
    ) -> Result<Self, LoadError> {
        let spelling = match w.has(Spelling::CANDLE_MARK) {
            true => Spelling::Candle,
            false => Spelling::PyTorch,
        };
        let layout = config.layout(spelling);
        let format = formats.weights;
        let inputs = layout.sets.iter().map(|(input, _)| matrix(w, input, format));
        let embedding = layout
            .steps
            .iter()
            .map(|(e, _)| Embedding::load(w, e, rows, format));
        let heads = layout.steps.iter().map(|(_, head)| matrix(w, head, format));
        let sets = layout.sets.iter().map(|(_, layers)| &layers[..]);
        Ok(Self {
            inputs: inputs.collect::<Result<_, _>>()?,
            embeddings: embedding.collect::<Result<_, _>>()?,
            heads: heads.collect::<Result<_, _>>()?,
            schedule: config.schedule.clone(),
            transformer: Transformer::load_sets(w, "depformer", sets, config.shape(), rows, formats)?,
            rows: Vec::with_capacity(rows),
            text: Vec::with_capacity(rows),
            codes: vec![0; rows * config.codebooks()],
            x: vec![0.0; rows * config.dim + SLACK],
            logits: vec![0.0; rows * config.codes],
        })
    }

    /// Chooses the codes of a frame of each of `frames`, which are sorted: those with the most codebooks first. Returns
    /// `frames × codebooks` codes, of which those that were not asked for mean nothing.
    ///
    /// `hidden` is `frames × dim` of the language model, readable [`SLACK`] further. `choose` takes the number of a frame, a
    /// codebook and its logits, and returns the code.
    pub(crate) fn choose(
        &mut self,
        pool: &mut Pool,
        frames: &[Frame],
        hidden: &[f32],
        choose: &mut dyn FnMut(usize, usize, &[f32]) -> u32,
    ) -> &[u32] {
        let Self {
            inputs,
            embeddings,
            heads,
            schedule,
            transformer,
            rows,
            text,
            codes,
            x,
            logits,
        } = self;
        rows.clear();
        rows.extend(frames.iter().map(|frame| frame.row));
        text.clear();
        text.extend(frames.iter().map(|frame| frame.text));
        rows.iter().for_each(|row| transformer.reset_row(*row));
        let books = schedule.len();
        for (book, set) in schedule.iter().enumerate() {
            let n = frames.partition_point(|frame| frame.codebooks > book);
            if n == 0 {
                break;
            }
            let (input, head) = (&inputs[*set], &heads[book]);
            let d = head.cols;
            linear(pool, input, n, hidden, input.cols, x, Write::Set);
            let embedding = &mut embeddings[book];
            match book.checked_sub(1) {
                None => embedding.add_text(pool, &text[..n], &mut x[..n * d]),
                Some(before) => {
                    let chosen = codes.chunks_exact(books).take(n);
                    embedding.add(pool, chosen.map(|codes| Some(codes[before])), &mut x[..n * d]);
                }
            }
            transformer.forward_with(pool, *set, &rows[..n], &mut x[..n * d], None);
            linear(pool, head, n, x, d, logits, Write::Set);
            let frames = logits.chunks_exact(head.rows).zip(codes.chunks_exact_mut(books));
            for (i, (logits, codes)) in frames.take(n).enumerate() {
                codes[book] = choose(i, book, logits);
            }
        }
        &self.codes[..frames.len() * books]
    }
}
