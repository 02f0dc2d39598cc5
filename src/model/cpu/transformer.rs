//! Pre-norm streaming transformer over batch rows. Mimi's (LayerNorm, GELU, layer scale) and the language model's
//! (RMSNorm, SwiGLU) are two settings of it.

use super::cross_attention::CrossAttention;
use super::formats::Formats;
use super::kernels::gemm::Write;
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use super::kernels::{self, Unary};
use super::kv_cache::{KvCache, Rope};
use super::linear::{SLACK, linear, matrix};
use super::norm::Norm;
use crate::model::error::LoadError;
use crate::model::layout::dtype::WeightFormat;
use crate::model::layout::transformer::{Feed, LayerLayout, Shape};
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

struct Layer {
    norm1: Norm,
    in_proj: Matrix,
    out_proj: Matrix,
    norm2: Norm,
    up: Matrix,
    down: Matrix,
    /// Behind `out_proj` and `down`.
    scales: [Option<Vec<f32>>; 2],
}

impl Layer {
    fn load(w: &Weights, layout: &LayerLayout, format: Option<WeightFormat>) -> Result<Self, LoadError> {
        let dim = layout.norm1.dim;
        let scales = match &layout.scales {
            Some([first, second]) => [Some(w.values(first, &[dim])?), Some(w.values(second, &[dim])?)],
            None => [None, None],
        };
        Ok(Self {
            norm1: Norm::load(w, &layout.norm1)?,
            in_proj: matrix(w, &layout.in_proj, format)?,
            out_proj: matrix(w, &layout.out_proj, format)?,
            norm2: Norm::load(w, &layout.norm2)?,
            up: matrix(w, &layout.up, format)?,
            down: matrix(w, &layout.down, format)?,
            scales,
        })
    }
}

/// Weights, caches and scratch of a streaming transformer.
pub(super) struct Transformer {
    shape: Shape,
    /// Layers per set of weights: one set, but where the weights change from step to step.
    sets: Vec<Vec<Layer>>,
    kv: KvCache,
    rope: Rope,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    hidden: Vec<f32>,
    branch: Vec<f32>,
}

impl Transformer {
    /// Loads `{prefix}.layers.*`, with state for `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or the kernels do not take the shape.
    pub(super) fn load(
        w: &Weights,
        prefix: &str,
        shape: Shape,
        rows: usize,
        formats: Formats,
    ) -> Result<Self, LoadError> {
        let layers = shape.all_layers(prefix);
        Self::load_sets(w, prefix, [&*layers].into_iter(), shape, rows, formats)
    }

    /// Loads the layers of several sets of weights, with state for `rows` rows. `name` is for messages.
    ///
    /// # Errors
    /// As for [`Self::load`].
    pub(super) fn load_sets<'a>(
        w: &Weights,
        name: &str,
        sets: impl Iterator<Item = &'a [LayerLayout]>,
        shape: Shape,
        rows: usize,
        formats: Formats,
    ) -> Result<Self, LoadError> {
        check(&shape, name)?;
        let layer = |layout| Layer::load(w, layout, formats.weights);
        let sets = sets.map(|layers| layers.iter().map(layer).collect());
        let (sets, n) = (sets.collect::<Result<_, _>>()?, rows * shape.tokens);
        Ok(Self {
            kv: KvCache::new(rows, &shape, formats.cache),
            rope: Rope::new(shape.rope_frequencies(), n),
            normed: vec![0.0; n * shape.dim + SLACK],
            qkv: vec![0.0; n * 3 * shape.dim],
            mixed: vec![0.0; n * shape.dim + SLACK],
            hidden: vec![0.0; n * shape.up_width() + SLACK],
            branch: vec![0.0; n * shape.dim],
            sets,
            shape,
        })
    }

    /// Forgets everything about `row`.
    pub(super) fn reset_row(&mut self, row: RowId) {
        // Scratch is written before it is read in every step; weights and shape are not state.
        let Self {
            shape: _,
            sets: _,
            kv,
            rope: _,
            normed: _,
            qkv: _,
            mixed: _,
            hidden: _,
            branch: _,
        } = self;
        kv.reset_row(row);
    }

    /// Advances `rows` by `tokens` each: `x` is `rows × tokens × dim`, replaced by the last layer's output.
    pub(super) fn forward(&mut self, pool: &mut Pool, rows: &[RowId], x: &mut [f32]) {
        self.forward_with(pool, 0, rows, x, None);
    }

    /// Does the same with the weights of set `set`, and with `cross` between attention and feed-forward of each layer.
    pub(super) fn forward_with(
        &mut self,
        pool: &mut Pool,
        set: usize,
        rows: &[RowId],
        x: &mut [f32],
        mut cross: Option<&mut CrossAttention>,
    ) {
        let Self {
            shape,
            sets,
            kv,
            rope,
            normed,
            qkv,
            mixed,
            hidden,
            branch,
        } = self;
        let (d, t) = (shape.dim, shape.tokens);
        let n = rows.len() * t;
        let first = rows.iter().map(|row| kv.position(*row));
        rope.turn_to(first.flat_map(|first| (0..t).map(move |i| first + i as u64)));
        for (l, layer) in sets[set].iter().enumerate() {
            let [scale1, scale2] = &layer.scales;
            layer.norm1.apply(x, &mut normed[..n * d]);
            linear(pool, &layer.in_proj, n, normed, d, qkv, Write::Set);
            kv.append(l, rows, rope, qkv);
            kv.attend(pool, l, rows, qkv, mixed);
            residual(pool, &layer.out_proj, n, mixed, d, scale1.as_deref(), branch, x);
            if let Some(cross) = &mut cross {
                cross.add(pool, l, rows, x);
            }
            layer.norm2.apply(x, &mut normed[..n * d]);
            let width = layer.up.rows;
            linear(pool, &layer.up, n, normed, d, hidden, Write::Set);
            for token in hidden[..n * width].chunks_exact_mut(width) {
                match shape.feed {
                    Feed::SwiGlu => {
                        let (gate, up) = token.split_at_mut(shape.hidden);
                        kernels::swiglu(gate, up);
                    }
                    Feed::Gelu => kernels::unary_in_place(Unary::Gelu, token),
                }
            }
            residual(pool, &layer.down, n, hidden, width, scale2.as_deref(), branch, x);
        }
        kv.advance(rows);
    }
}

fn check(shape: &Shape, prefix: &str) -> Result<(), LoadError> {
    let (head_dim, widths) = (shape.head_dim(), [shape.dim, shape.head_dim(), shape.hidden]);
    let whole = shape.heads * head_dim == shape.dim && widths.iter().all(|width| width % 8 == 0);
    if shape.layers > 0 && !whole {
        return Err(LoadError::Config(format!(
            "{prefix}: width {}, {} heads, hidden width {}: width, head width and hidden width must be multiples of 8",
            shape.dim, shape.heads, shape.hidden
        )));
    }
    if shape.context <= shape.tokens {
        return Err(LoadError::Config(format!(
            "{prefix}: context {} is too short",
            shape.context
        )));
    }
    Ok(())
}

// x += scale · W from, for `n` tokens that are `stride` apart in `from`.
#[expect(
    clippy::too_many_arguments,
    reason = "a struct would only name them a second time"
)]
fn residual(
    pool: &mut Pool,
    w: &Matrix,
    n: usize,
    from: &[f32],
    stride: usize,
    scale: Option<&[f32]>,
    branch: &mut [f32],
    x: &mut [f32],
) {
    let Some(scale) = scale else {
        return linear(pool, w, n, from, stride, x, Write::Add);
    };
    linear(pool, w, n, from, stride, branch, Write::Set);
    for (x, branch) in x.chunks_exact_mut(w.rows).zip(branch.chunks_exact(w.rows)) {
        x.iter_mut()
            .zip(branch)
            .zip(scale)
            .for_each(|((x, b), s)| *x += b * s);
    }
}
