//! The streaming transformer on the device: the launches of one step over a bucket of slots.

use super::args::{
    ActivateArgs, AppendArgs, AttendArgs, BLOCK, CombineArgs, Kernel, NormArgs, SPLIT, TurnArgs,
};
use super::backend::{Backend, Cache, Matrix, Product, Ptr, Real, Stage};
use super::source::Loader;
use crate::model::error::LoadError;
use crate::model::transformer::{Feed, Shape};

/// A norm's weights; without a bias it is RMSNorm.
#[derive(Clone, Copy)]
pub(super) struct Norm {
    weight: Ptr,
    bias: Ptr,
    eps: f32,
    d: usize,
}

impl Norm {
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        name: &str,
        d: usize,
        feed: Feed,
    ) -> Result<Self, LoadError> {
        Ok(match feed {
            Feed::SwiGlu => Self {
                weight: l.vector(&format!("{name}.alpha"), &[1, 1, d])?,
                bias: Ptr::NULL,
                eps: 1e-8,
                d,
            },
            Feed::Gelu => Self {
                weight: l.vector(&format!("{name}.weight"), &[d])?,
                bias: l.vector(&format!("{name}.bias"), &[d])?,
                eps: 1e-5,
                d,
            },
        })
    }

    /// Normalises `tokens` tokens of `x` into `out`, which is in the format of the product that follows.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, tokens: usize, x: Ptr, out: Ptr, real: Real) {
        let args = NormArgs {
            x,
            weight: self.weight,
            bias: self.bias,
            out,
            d: self.d as u32,
            eps: self.eps,
        };
        b.launch(
            Kernel::of(real, Kernel::NormF32, Kernel::NormBf16),
            [tokens, 1, 1],
            args,
        );
    }
}

struct Layer {
    norm1: Norm,
    in_proj: Matrix,
    /// Layer scale, where there is one, is part of the lines of `out_proj` and `down`.
    out_proj: Matrix,
    norm2: Norm,
    up: Matrix,
    down: Matrix,
    keys: Ring,
    values: Ring,
}

/// Keys or values of a layer, for all rows.
#[derive(Clone, Copy)]
struct Ring {
    at: Ptr,
    /// f32 `[rows][heads][context]`, for fp8.
    factors: Ptr,
    #[cfg(feature = "cuda")]
    bytes: (usize, usize),
}

/// Of how many rows, and in which formats.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) rows: usize,
    pub(super) real: Real,
    pub(super) cache: Cache,
    /// See [`Product::exact`].
    pub(super) exact: bool,
}

/// Buffers between the launches of a layer, for a whole bucket.
struct Scratch {
    /// f32: `[slots][tokens][pairs]` of cosine and sine, `[slots][tokens][3 · dim]`, `[slots][tokens][up.n]`, splits.
    turns: Ptr,
    qkv: Ptr,
    hidden: Ptr,
    partial: Ptr,
    /// In the weights' format: `[slots][tokens][dim]` twice and `[slots][tokens][hidden]`.
    normed: Ptr,
    mixed: Ptr,
    active: Ptr,
}

/// Weights, rings of every row, scratch.
pub(super) struct Transformer {
    shape: Shape,
    held: Held,
    attend: Kernel,
    splits: usize,
    frequencies: Ptr,
    layers: Vec<Layer>,
    scratch: Scratch,
    stages: (Stage, Stage),
}

/// Bytes of the rings of one row.
pub(super) fn row_bytes(s: &Shape, cache: Cache) -> usize {
    s.layers * 2 * s.context * s.heads * cache.bytes(s.dim / s.heads)
}

/// Bytes of scratch for one slot, rounded up.
pub(super) fn slot_bytes(s: &Shape, real: Real) -> usize {
    let splits = s.context.div_ceil(SPLIT);
    let up = if s.feed == Feed::SwiGlu { 2 } else { 1 } * s.hidden;
    let partial = splits * (s.dim + 2 * s.heads);
    s.tokens * (4 * (s.dim / s.heads + 3 * s.dim + up + partial) + real.bytes() * (2 * s.dim + s.hidden))
}

impl Transformer {
    /// Loads `{prefix}.layers.*`, with rings for `rows` rows and scratch for as many slots.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        prefix: &str,
        shape: Shape,
        held: Held,
        stages: (Stage, Stage),
    ) -> Result<Self, LoadError> {
        let (d, head_dim) = (shape.dim, shape.dim / shape.heads);
        let Held {
            rows, real, cache, ..
        } = held;
        let attend = Kernel::attend(cache, head_dim).ok_or_else(|| {
            LoadError::Config(format!(
                "attention heads of {head_dim} are not supported on a GPU: 8, 16, 32, 64 and 128 are"
            ))
        })?;
        let frequency = |i: usize| shape.max_period.powf(-(i as f64) / (head_dim / 2) as f64);
        let frequencies: Vec<f64> = (0..head_dim / 2).map(frequency).collect();
        let layers = (0..shape.layers).map(|i| Layer::load(l, &format!("{prefix}.layers.{i}"), &shape, held));
        let layers = layers.collect::<Result<Vec<_>, _>>()?;
        let splits = shape.context.div_ceil(SPLIT);
        let tokens = rows * shape.tokens;
        let wide = layers.iter().map(|layer| layer.up.n).max().unwrap_or(0);
        let scratch = Scratch {
            turns: l.space(tokens * head_dim * 4)?,
            qkv: l.space(tokens * 3 * d * 4)?,
            hidden: l.space(tokens * wide * 4)?,
            partial: l.space(tokens * shape.heads * splits * (head_dim + 2) * 4)?,
            normed: l.space(tokens * d * real.bytes())?,
            mixed: l.space(tokens * d * real.bytes())?,
            active: l.space(tokens * shape.hidden * real.bytes())?,
        };
        Ok(Self {
            frequencies: l.doubles(&frequencies)?,
            shape,
            held,
            attend,
            splits,
            layers,
            scratch,
            stages,
        })
    }

    /// Where the rings of all layers and their factors lie, and their bytes.
    #[cfg(feature = "cuda")]
    pub(super) fn rings(&self) -> Vec<(Ptr, usize)> {
        let rings = self.layers.iter().flat_map(|layer| [layer.keys, layer.values]);
        let parts = rings.flat_map(|ring| [(ring.at, ring.bytes.0), (ring.factors, ring.bytes.1)]);
        parts.filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// Queues one step of `n` slots: `x` is `[n][tokens][dim]`, replaced by the last layer's output.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, slots: Ptr, n: usize, x: Ptr) {
        let (s, t) = (&self.shape, &self.scratch);
        let (tokens, head_dim) = (n * s.tokens, s.dim / s.heads);
        let turn = TurnArgs {
            slots,
            frequencies: self.frequencies,
            turns: t.turns,
            tokens: s.tokens as u32,
            pairs: (head_dim / 2) as u32,
        };
        b.mark(self.stages.1);
        b.launch(Kernel::Turn, [n, 1, 1], turn);
        for layer in &self.layers {
            b.mark(self.stages.0);
            layer.norm1.launch(b, tokens, x, t.normed, self.held.real);
            b.product(self.linear(layer.in_proj, tokens, t.normed, t.qkv, false));
            b.mark(self.stages.1);
            self.attention(b, layer, slots, n);
            b.mark(self.stages.0);
            b.product(self.linear(layer.out_proj, tokens, t.mixed, x, true));
            layer.norm2.launch(b, tokens, x, t.normed, self.held.real);
            b.product(self.linear(layer.up, tokens, t.normed, t.hidden, false));
            let args = ActivateArgs {
                x: t.hidden,
                out: t.active,
                width: s.hidden as u32,
                unused: 0,
            };
            let kernel = match s.feed {
                Feed::SwiGlu => Kernel::of(self.held.real, Kernel::SwigluF32, Kernel::SwigluBf16),
                Feed::Gelu => Kernel::of(self.held.real, Kernel::GeluF32, Kernel::GeluBf16),
            };
            b.launch(kernel, [s.hidden.div_ceil(BLOCK), tokens, 1], args);
            b.product(self.linear(layer.down, tokens, t.active, x, true));
        }
    }

    // Rotates, stores and attends: `qkv` to `mixed`.
    fn attention<B: Backend>(&self, b: &mut B, layer: &Layer, slots: Ptr, n: usize) {
        let (s, t) = (&self.shape, &self.scratch);
        let (tokens, head_dim) = (n * s.tokens, s.dim / s.heads);
        let append = AppendArgs {
            slots,
            turns: t.turns,
            qkv: t.qkv,
            keys: layer.keys.at,
            values: layer.values.at,
            key_factors: layer.keys.factors,
            value_factors: layer.values.factors,
            tokens: s.tokens as u32,
            heads: s.heads as u32,
            head_dim: head_dim as u32,
            context: s.context as u32,
        };
        b.launch(Kernel::append(self.held.cache), [s.tokens, n, 1], append);
        let attend = AttendArgs {
            slots,
            qkv: t.qkv,
            keys: layer.keys.at,
            values: layer.values.at,
            key_factors: layer.keys.factors,
            value_factors: layer.values.factors,
            out: t.mixed,
            partial: t.partial,
            tokens: s.tokens as u32,
            heads: s.heads as u32,
            context: s.context as u32,
            splits: self.splits as u32,
            scale: 1.0 / (head_dim as f32).sqrt(),
            unused: 0,
        };
        b.launch(self.attend, [self.splits, s.heads, tokens], attend);
        if self.splits > 1 {
            let combine = CombineArgs {
                slots,
                partial: t.partial,
                out: t.mixed,
                tokens: s.tokens as u32,
                heads: s.heads as u32,
                head_dim: head_dim as u32,
                context: s.context as u32,
                splits: self.splits as u32,
                unused: 0,
            };
            let kernel = Kernel::of(self.held.real, Kernel::CombineF32, Kernel::CombineBf16);
            b.launch(kernel, [s.heads, tokens, 1], combine);
        }
    }

    fn linear(&self, w: Matrix, m: usize, x: Ptr, y: Ptr, add: bool) -> Product {
        Product {
            w,
            m,
            x,
            y,
            add,
            exact: self.held.exact,
        }
    }
}

impl Layer {
    fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        prefix: &str,
        s: &Shape,
        Held {
            rows, real, cache, ..
        }: Held,
    ) -> Result<Self, LoadError> {
        let (d, h) = (s.dim, s.hidden);
        let (up, down, wide) = match s.feed {
            Feed::SwiGlu => ("gating.linear_in", "gating.linear_out", 2 * h),
            Feed::Gelu => ("linear1", "linear2", h),
        };
        if !d.is_multiple_of(8) || !h.is_multiple_of(8) {
            return Err(LoadError::Config(format!(
                "layers {d} wide with {h} hidden units are not supported on a GPU: multiples of eight are"
            )));
        }
        let scale = |l: &Loader<'_, B>, name: &str| {
            let name = format!("{prefix}.{name}.scale");
            s.layer_scale.then(|| l.source.values(&name, &[d])).transpose()
        };
        let (scale1, scale2) = (scale(l, "layer_scale_1")?, scale(l, "layer_scale_2")?);
        let (vectors, head_dim) = (rows * s.heads * s.context, d / s.heads);
        let mut ring = || {
            let bytes = match cache {
                Cache::Plain(real) => (vectors * head_dim * real.bytes(), 0),
                Cache::Fp8 => (vectors * head_dim, vectors * size_of::<f32>()),
            };
            Ok::<_, LoadError>(Ring {
                at: l.space(bytes.0)?,
                factors: if bytes.1 > 0 { l.space(bytes.1)? } else { Ptr::NULL },
                #[cfg(feature = "cuda")]
                bytes,
            })
        };
        let (keys, values) = (ring()?, ring()?);
        Ok(Self {
            norm1: Norm::load(l, &format!("{prefix}.norm1"), d, s.feed)?,
            in_proj: l.matrix(
                &format!("{prefix}.self_attn.in_proj_weight"),
                (3 * d, d),
                real,
                None,
            )?,
            out_proj: l.matrix(
                &format!("{prefix}.self_attn.out_proj.weight"),
                (d, d),
                real,
                scale1.as_deref(),
            )?,
            norm2: Norm::load(l, &format!("{prefix}.norm2"), d, s.feed)?,
            up: l.matrix(&format!("{prefix}.{up}.weight"), (wide, d), real, None)?,
            down: l.matrix(
                &format!("{prefix}.{down}.weight"),
                (d, h),
                real,
                scale2.as_deref(),
            )?,
            keys,
            values,
        })
    }
}
