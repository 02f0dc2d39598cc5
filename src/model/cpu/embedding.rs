//! Embeddings of tokens, added to the input of a step: plain ones, low-rank ones, and those of two text streams.

use super::kernels::gemm::Write;
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use super::linear::{SLACK, linear, matrix};
use crate::model::error::LoadError;
use crate::model::layout::dtype::WeightFormat;
use crate::model::layout::embedding::{EmbeddingLayout, Projection};
use crate::model::tts::machine::TextInput;
use crate::model::weights::Weights;

/// A table of vectors, and what they are multiplied with.
pub(super) struct Embedding {
    table: Matrix,
    projection: Projection<Matrix>,
    /// Vectors of the step's tokens, `[slot][width]`.
    gathered: Vec<f32>,
}

impl Embedding {
    /// Loads an embedding for steps of up to `slots` tokens.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn load(
        w: &Weights,
        layout: &EmbeddingLayout,
        slots: usize,
        format: Option<WeightFormat>,
    ) -> Result<Self, LoadError> {
        let gathered = match layout.projection {
            Projection::None => 0,
            _ => slots * layout.table.cols + SLACK,
        };
        Ok(Self {
            table: matrix(w, &layout.table, gathered_format(format))?,
            projection: layout.projection.try_map(|m| matrix(w, m, format))?,
            gathered: vec![0.0; gathered],
        })
    }

    /// Adds the embedding of each slot's text to `x`, `slots × dim`.
    pub(super) fn add_text(&mut self, pool: &mut Pool, text: &[TextInput], x: &mut [f32]) {
        let main = text.iter().map(|text| Some(text.main));
        match &self.projection {
            Projection::Streams([first, second]) => {
                gather(&self.table, main, &mut self.gathered);
                let (n, width) = (text.len(), self.table.cols);
                linear(pool, first, n, &self.gathered, width, x, Write::Add);
                gather(
                    &self.table,
                    text.iter().map(|text| text.second),
                    &mut self.gathered,
                );
                linear(pool, second, n, &self.gathered, width, x, Write::Add);
            }
            _ => self.add(pool, main, x),
        }
    }

    /// Adds the embedding of each slot's token to `x`, `slots × dim`; nothing where a slot has none.
    pub(super) fn add(
        &mut self,
        pool: &mut Pool,
        tokens: impl ExactSizeIterator<Item = Option<u32>>,
        x: &mut [f32],
    ) {
        match &self.projection {
            Projection::None => {
                let slots = x.chunks_exact_mut(self.table.cols);
                for (token, x) in tokens.zip(slots) {
                    if let Some(token) = token {
                        self.table.add_row_to(token as usize, x);
                    }
                }
            }
            Projection::LowRank(matrix) | Projection::Streams([matrix, _]) => {
                let (n, width) = (tokens.len(), self.table.cols);
                gather(&self.table, tokens, &mut self.gathered);
                linear(pool, matrix, n, &self.gathered, width, x, Write::Add);
            }
        }
    }
}

/// Returns the format of a table whose vectors are gathered, not multiplied: quantising it would cost accuracy and gain
/// nothing.
pub(super) fn gathered_format(format: Option<WeightFormat>) -> Option<WeightFormat> {
    format.filter(|format| *format != WeightFormat::Q8)
}

fn gather(table: &Matrix, tokens: impl Iterator<Item = Option<u32>>, gathered: &mut [f32]) {
    for (token, vector) in tokens.zip(gathered.chunks_exact_mut(table.cols)) {
        vector.fill(0.0);
        if let Some(token) = token {
            table.add_row_to(token as usize, vector);
        }
    }
}
