//! The streaming transformer on the device: the launches of one step over a bucket of slots.

use super::backend::{Backend, Matrix, Product, ProfileSpan, Ptr};
use super::kernels::{ActivateArgs, AppendArgs, AttendArgs, BLOCK, CombineArgs, Kernel, NormArgs, TurnArgs};
use super::source::Loader;
use crate::model::error::LoadError;
use crate::model::layout::dtype::{Cache, Real};
use crate::model::layout::memory::SPLIT;
use crate::model::layout::transformer::{Feed, NormLayout, Shape};

/// A norm's weights; without a bias it is RMSNorm.
#[derive(Clone, Copy)]
pub(super) struct Norm {
    weight: Ptr,
    bias: Ptr,
    eps: f32,
    d: usize,
}

impl Norm {
    pub(super) fn load<B: Backend>(l: &mut Loader<'_, B>, layout: &NormLayout) -> Result<Self, LoadError> {
        Ok(Self {
            weight: l.vector(&layout.weight, &layout.weight_shape)?,
            bias: match &layout.bias {
                Some(name) => l.vector(name, &[layout.dim])?,
                None => Ptr::NULL,
            },
            eps: layout.eps,
            d: layout.dim,
        })
    }

    /// Queues the norms of `tokens` tokens of `x` into `out`, which is in the format of the product that follows.
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

/// Rows of a transformer, and the formats in which it is held.
#[derive(Clone, Copy)]
pub(super) struct Held {
    pub(super) rows: usize,
    pub(super) real: Real,
    pub(super) cache: Cache,
    /// Whether f32 products are full f32, see [`Product::exact`].
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

/// Weights, rings of all rows, and scratch.
pub(super) struct Transformer {
    shape: Shape,
    held: Held,
    attend: Kernel,
    splits: usize,
    frequencies: Ptr,
    layers: Vec<Layer>,
    scratch: Scratch,
    /// Of products, and of attention.
    spans: (ProfileSpan, ProfileSpan),
}

impl Transformer {
    /// Loads `{prefix}.layers.*`, with rings for `held.rows` rows and scratch for as many slots.
    ///
    /// # Errors
    /// A tensor is missing or wrong, the kernels do not take the shape, or the device is full.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        prefix: &str,
        shape: Shape,
        held: Held,
        spans: (ProfileSpan, ProfileSpan),
    ) -> Result<Self, LoadError> {
        let (d, head_dim) = (shape.dim, shape.head_dim());
        let Held {
            rows, real, cache, ..
        } = held;
        let attend = Kernel::attend(cache, head_dim).ok_or_else(|| {
            LoadError::Config(format!(
                "attention heads of {head_dim} are not supported on a GPU: 8, 16, 32, 64 and 128 are"
            ))
        })?;
        let layers = (0..shape.layers).map(|i| Layer::load(l, prefix, i, &shape, held));
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
            frequencies: l.doubles(&shape.rope_frequencies())?,
            shape,
            held,
            attend,
            splits,
            layers,
            scratch,
            spans,
        })
    }

    /// Returns where the rings of all layers and their factors lie, and their bytes.
    #[cfg(feature = "cuda")]
    pub(super) fn rings(&self) -> Vec<(Ptr, usize)> {
        let rings = self.layers.iter().flat_map(|layer| [layer.keys, layer.values]);
        let parts = rings.flat_map(|ring| [(ring.at, ring.bytes.0), (ring.factors, ring.bytes.1)]);
        parts.filter(|(_, bytes)| *bytes > 0).collect()
    }

    /// Queues one step of `n` slots: `x` is `[n][tokens][dim]`, replaced by the last layer's output.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, slots: Ptr, n: usize, x: Ptr) {
        let (s, t) = (&self.shape, &self.scratch);
        let (tokens, head_dim) = (n * s.tokens, s.head_dim());
        let turn = TurnArgs {
            slots,
            frequencies: self.frequencies,
            turns: t.turns,
            tokens: s.tokens as u32,
            pairs: (head_dim / 2) as u32,
        };
        b.mark(self.spans.1);
        b.launch(Kernel::Turn, [n, 1, 1], turn);
        for layer in &self.layers {
            b.mark(self.spans.0);
            layer.norm1.launch(b, tokens, x, t.normed, self.held.real);
            b.product(self.linear(layer.in_proj, tokens, t.normed, t.qkv, false));
            b.mark(self.spans.1);
            self.attention(b, layer, slots, n);
            b.mark(self.spans.0);
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
        let (tokens, head_dim) = (n * s.tokens, s.head_dim());
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
        index: usize,
        s: &Shape,
        held: Held,
    ) -> Result<Self, LoadError> {
        let (d, h, real) = (s.dim, s.hidden, held.real);
        if !d.is_multiple_of(8) || !h.is_multiple_of(8) {
            return Err(LoadError::Config(format!(
                "layers {d} wide with {h} hidden units are not supported on a GPU: multiples of eight are"
            )));
        }
        let layout = s.layer(prefix, index);
        let (scale1, scale2) = match &layout.scales {
            Some([first, second]) => (
                Some(l.source.values(first, &[d])?),
                Some(l.source.values(second, &[d])?),
            ),
            None => (None, None),
        };
        Ok(Self {
            keys: Ring::new(l, s, held)?,
            values: Ring::new(l, s, held)?,
            norm1: Norm::load(l, &layout.norm1)?,
            in_proj: l.matrix(&layout.in_proj, real, None)?,
            out_proj: l.matrix(&layout.out_proj, real, scale1.as_deref())?,
            norm2: Norm::load(l, &layout.norm2)?,
            up: l.matrix(&layout.up, real, None)?,
            down: l.matrix(&layout.down, real, scale2.as_deref())?,
        })
    }
}

impl Ring {
    fn new<B: Backend>(l: &mut Loader<'_, B>, s: &Shape, held: Held) -> Result<Self, LoadError> {
        let vectors = held.rows * s.heads * s.context;
        let (bytes, factors) = match held.cache {
            Cache::Plain(real) => (vectors * s.head_dim() * real.bytes(), 0),
            Cache::Fp8 => (vectors * s.head_dim(), vectors * size_of::<f32>()),
        };
        Ok(Self {
            at: l.space(bytes)?,
            factors: if factors > 0 { l.space(factors)? } else { Ptr::NULL },
            #[cfg(feature = "cuda")]
            bytes: (bytes, factors),
        })
    }
}
