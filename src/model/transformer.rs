//! Pre-norm streaming transformer over batch rows: Mimi's (LayerNorm, GELU, layer scale) and the language model's
//! (RMSNorm, SwiGLU) are two settings of it. Architecture: the Moshi paper, arXiv:2410.00037, and its checkpoints.

use super::cpu::gemm::{Input, Layout, Output, Write, gemm};
use super::cpu::matrix::{Matrix, WeightFormat};
use super::cpu::pool::Pool;
use super::cpu::{self, Unary};
use super::error::LoadError;
use super::kv_cache::{CacheFormat, KvCache, Rope};
use super::weights::Weights;
use crate::stream::ids::RowId;

/// Floats kept readable after activations, so that kernels may read whole padded rows.
const SLACK: usize = 32;

/// Shape of a transformer.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) dim: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    /// Hidden width: of the gated half for [`Feed::SwiGlu`], of the plain layer for [`Feed::Gelu`].
    pub(crate) hidden: usize,
    pub(crate) feed: Feed,
    /// Positions a query can see, its own included.
    pub(crate) context: usize,
    pub(crate) max_period: f64,
    pub(crate) layer_scale: bool,
    /// Tokens a row advances by in one step.
    pub(crate) tokens: usize,
}

/// The feed-forward half, and the norm that goes with it in Kyutai's checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// `gating.linear_in`, `gating.linear_out`, RMSNorm.
    SwiGlu,
    /// `linear1`, `linear2`, LayerNorm.
    Gelu,
}

/// A norm over the channels of one token.
pub(crate) enum Norm {
    /// eps 1e-8
    Rms { alpha: Vec<f32> },
    /// eps 1e-5
    Layer { weight: Vec<f32>, bias: Vec<f32> },
}

impl Norm {
    pub(crate) fn load(w: &Weights, name: &str, dim: usize, feed: Feed) -> Result<Self, LoadError> {
        Ok(match feed {
            Feed::SwiGlu => Self::Rms {
                alpha: w.values(&format!("{name}.alpha"), &[1, 1, dim])?,
            },
            Feed::Gelu => Self::Layer {
                weight: w.values(&format!("{name}.weight"), &[dim])?,
                bias: w.values(&format!("{name}.bias"), &[dim])?,
            },
        })
    }

    /// Normalises each `dim`-wide token of `x` into `out`.
    pub(crate) fn apply(&self, x: &[f32], out: &mut [f32]) {
        match self {
            Self::Rms { alpha } => {
                let d = alpha.len();
                x.chunks_exact(d)
                    .zip(out.chunks_exact_mut(d))
                    .for_each(|(x, o)| cpu::rms_norm(x, alpha, 1e-8, o));
            }
            Self::Layer { weight, bias } => {
                let d = weight.len();
                x.chunks_exact(d)
                    .zip(out.chunks_exact_mut(d))
                    .for_each(|(x, o)| cpu::layer_norm(x, weight, bias, 1e-5, o));
            }
        }
    }
}

struct Layer {
    norm1: Norm,
    in_proj: Matrix,
    out_proj: Matrix,
    norm2: Norm,
    up: Matrix,
    down: Matrix,
    scale1: Option<Vec<f32>>,
    scale2: Option<Vec<f32>>,
}

impl Layer {
    fn load(w: &Weights, prefix: &str, s: &Shape, format: Option<WeightFormat>) -> Result<Self, LoadError> {
        let (d, h) = (s.dim, s.hidden);
        let (up, down, width) = match s.feed {
            Feed::SwiGlu => ("gating.linear_in", "gating.linear_out", 2 * h),
            Feed::Gelu => ("linear1", "linear2", h),
        };
        let matrix = |name: &str, rows, cols| w.matrix(&format!("{prefix}.{name}"), rows, cols, format);
        let scale = |name: &str| -> Result<Option<Vec<f32>>, LoadError> {
            if s.layer_scale {
                Ok(Some(w.values(&format!("{prefix}.{name}.scale"), &[d])?))
            } else {
                Ok(None)
            }
        };
        Ok(Self {
            norm1: Norm::load(w, &format!("{prefix}.norm1"), d, s.feed)?,
            in_proj: matrix("self_attn.in_proj_weight", 3 * d, d)?,
            out_proj: matrix("self_attn.out_proj.weight", d, d)?,
            norm2: Norm::load(w, &format!("{prefix}.norm2"), d, s.feed)?,
            up: matrix(&format!("{up}.weight"), width, d)?,
            down: matrix(&format!("{down}.weight"), d, h)?,
            scale1: scale("layer_scale_1")?,
            scale2: scale("layer_scale_2")?,
        })
    }
}

/// Weights, caches and scratch of a streaming transformer.
pub(crate) struct Transformer {
    shape: Shape,
    layers: Vec<Layer>,
    kv: KvCache,
    rope: Rope,
    normed: Vec<f32>,
    qkv: Vec<f32>,
    mixed: Vec<f32>,
    hidden: Vec<f32>,
    branch: Vec<f32>,
}

impl Transformer {
    /// Loads `{prefix}.layers.*`; state for `rows` rows.
    pub(crate) fn load(
        w: &Weights,
        prefix: &str,
        shape: Shape,
        rows: usize,
        (format, cache): (Option<WeightFormat>, CacheFormat),
    ) -> Result<Self, LoadError> {
        let head_dim = shape.dim / shape.heads.max(1);
        let whole = shape.heads * head_dim == shape.dim;
        if shape.layers > 0
            && !(whole
                && [shape.dim, head_dim, shape.hidden]
                    .iter()
                    .all(|width| width % 8 == 0))
        {
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
        let layers =
            (0..shape.layers).map(|l| Layer::load(w, &format!("{prefix}.layers.{l}"), &shape, format));
        let (layers, n) = (layers.collect::<Result<_, _>>()?, rows * shape.tokens);
        let up_width = if shape.feed == Feed::SwiGlu {
            2 * shape.hidden
        } else {
            shape.hidden
        };
        Ok(Self {
            kv: KvCache::new(rows, shape.layers, (shape.heads, shape.context, head_dim), cache),
            rope: Rope::new(head_dim, shape.max_period, n),
            normed: vec![0.0; n * shape.dim + SLACK],
            qkv: vec![0.0; n * 3 * shape.dim],
            mixed: vec![0.0; n * shape.dim + SLACK],
            hidden: vec![0.0; n * up_width + SLACK],
            branch: vec![0.0; n * shape.dim],
            layers,
            shape,
        })
    }

    /// Forgets everything about `row`.
    pub(crate) fn reset_row(&mut self, row: RowId) {
        // Scratch is written before it is read in every step; weights and shape are not state.
        let Self {
            shape: _,
            layers: _,
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
    pub(crate) fn forward(&mut self, pool: &mut Pool, rows: &[RowId], x: &mut [f32]) {
        let (d, t) = (self.shape.dim, self.shape.tokens);
        let n = rows.len() * t;
        self.rope.turn_to(
            rows.iter()
                .flat_map(|row| (0..t).map(|i| self.kv.position(*row) + i as u64)),
        );
        for (l, layer) in self.layers.iter().enumerate() {
            layer.norm1.apply(x, &mut self.normed[..n * d]);
            linear(
                pool,
                &layer.in_proj,
                n,
                &self.normed,
                d,
                &mut self.qkv,
                Write::Set,
            );
            self.kv.append(l, rows, t, &self.rope, &mut self.qkv);
            self.kv.attend(pool, l, rows, t, &self.qkv, &mut self.mixed);
            residual(
                pool,
                &layer.out_proj,
                n,
                (&self.mixed, d),
                layer.scale1.as_deref(),
                &mut self.branch,
                x,
            );
            layer.norm2.apply(x, &mut self.normed[..n * d]);
            let width = layer.up.rows;
            linear(pool, &layer.up, n, &self.normed, d, &mut self.hidden, Write::Set);
            for token in self.hidden[..n * width].chunks_exact_mut(width) {
                match self.shape.feed {
                    Feed::SwiGlu => {
                        let (gate, up) = token.split_at_mut(self.shape.hidden);
                        cpu::swiglu(gate, up);
                    }
                    Feed::Gelu => cpu::unary_in_place(Unary::Gelu, token),
                }
            }
            residual(
                pool,
                &layer.down,
                n,
                (&self.hidden, width),
                layer.scale2.as_deref(),
                &mut self.branch,
                x,
            );
        }
        self.kv.advance(rows, t);
    }
}

/// `y = W x` for `n` tokens `stride` apart in `x`.
pub(crate) fn linear(
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
    gemm(
        pool,
        w,
        n,
        input,
        None,
        Output {
            data: y,
            layout: Layout::dense(w.rows),
            write,
        },
    );
}

// x += scale · W from, with `from` = (tokens, their stride).
fn residual(
    pool: &mut Pool,
    w: &Matrix,
    n: usize,
    from: (&[f32], usize),
    scale: Option<&[f32]>,
    branch: &mut [f32],
    x: &mut [f32],
) {
    let Some(scale) = scale else {
        return linear(pool, w, n, from.0, from.1, x, Write::Add);
    };
    linear(pool, w, n, from.0, from.1, branch, Write::Set);
    for (x, branch) in x.chunks_exact_mut(w.rows).zip(branch.chunks_exact(w.rows)) {
        x.iter_mut()
            .zip(branch)
            .zip(scale)
            .for_each(|((x, b), s)| *x += b * s);
    }
}
