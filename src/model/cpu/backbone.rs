//! What every language model does with its input: the transformer, the norm behind it, and the head of the text.

use super::cross_attention::CrossAttention;
use super::formats::Formats;
use super::kernels::gemm::Write;
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use super::linear::{SLACK, linear, matrix};
use super::norm::Norm;
use super::transformer::Transformer;
use crate::model::error::LoadError;
use crate::model::layout::lm::{OUT_NORM, TRANSFORMER};
use crate::model::layout::transformer::{MatrixLayout, Shape};
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// Weights and per-row state.
pub(super) struct Backbone {
    transformer: Transformer,
    out_norm: Norm,
    text_head: Matrix,
    hidden: Vec<f32>,
    logits: Vec<f32>,
}

impl Backbone {
    /// Loads a backbone of `shape` with state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or the kernels do not take the shape.
    pub(super) fn load(
        w: &Weights,
        shape: Shape,
        text_head: &MatrixLayout,
        rows: usize,
        formats: Formats,
    ) -> Result<Self, LoadError> {
        let d = shape.dim;
        Ok(Self {
            out_norm: Norm::load(w, &shape.feed.norm(OUT_NORM, d))?,
            transformer: Transformer::load(w, TRANSFORMER, shape, rows, formats)?,
            text_head: matrix(w, text_head, formats.weights)?,
            hidden: vec![0.0; rows * d + SLACK],
            logits: vec![0.0; rows * text_head.rows],
        })
    }

    /// Forgets everything about `row`.
    pub(super) fn reset_row(&mut self, row: RowId) {
        self.transformer.reset_row(row);
    }

    /// Advances `rows` by one step. `x` is `rows × dim`; it is overwritten.
    pub(super) fn forward(
        &mut self,
        pool: &mut Pool,
        rows: &[RowId],
        x: &mut [f32],
        cross: Option<&mut CrossAttention>,
    ) {
        let (n, d) = (rows.len(), self.width());
        self.transformer.forward_with(pool, 0, rows, x, cross);
        self.out_norm.apply(x, &mut self.hidden[..n * d]);
        let logits = &mut self.logits;
        linear(pool, &self.text_head, n, &self.hidden, d, logits, Write::Set);
    }

    /// Returns the width of a hidden vector.
    pub(super) fn width(&self) -> usize {
        self.text_head.cols
    }

    /// Returns the last step's vectors behind the norm, `rows × dim`, readable [`SLACK`] further.
    pub(super) fn hidden(&self) -> &[f32] {
        &self.hidden
    }

    /// Returns the last step's logits of each row, row after row.
    pub(super) fn logits(&self) -> std::slice::ChunksExact<'_, f32> {
        self.logits.chunks_exact(self.text_head.rows)
    }
}
