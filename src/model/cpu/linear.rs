//! Linear layers: weights from a checkpoint, and their products with activations that lie one after the other.

use super::kernels::gemm::{Input, Layout, Output, Write, gemm};
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use crate::model::error::LoadError;
use crate::model::layout::dtype::WeightFormat;
use crate::model::layout::transformer::MatrixLayout;
use crate::model::weights::Weights;

/// Floats kept readable after activations, so that kernels may read whole padded rows.
pub(super) const SLACK: usize = 32;

/// Loads a matrix, held in `format` or, without one, as the file holds it.
///
/// # Errors
/// The tensor is missing or has another shape or type.
pub(super) fn matrix(
    w: &Weights,
    layout: &MatrixLayout,
    format: Option<WeightFormat>,
) -> Result<Matrix, LoadError> {
    let values = w.stacked(&layout.name, [layout.rows, layout.cols], layout.stack)?;
    let format = format.unwrap_or_else(|| w.format(&layout.name));
    Ok(Matrix::new(layout.rows, layout.cols, &values, format))
}

/// Computes `y = W x` (or `y += W x`) for `n` tokens, `stride` apart in `x` and dense in `y`.
pub(super) fn linear(
    pool: &mut Pool,
    w: &Matrix,
    n: usize,
    x: &[f32],
    stride: usize,
    y: &mut [f32],
    write: Write,
) {
    let input = Input {
        data: x,
        layout: Layout::dense(stride),
    };
    let output = Output {
        data: y,
        layout: Layout::dense(w.rows),
        write,
    };
    gemm(pool, w, n, input, None, output);
}
