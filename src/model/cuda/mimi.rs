//! Mimi's encoder on the device: audio of a bucket of slots to codes.

use super::args::{Kernel, NearestArgs, Slot};
use super::backend::{Backend, Cache, Matrix, Product, Ptr, Real, Stage};
use super::conv::{self, Conv, Io};
use super::source::Loader;
use super::transformer::{self, Held, Transformer};
use crate::model::error::LoadError;
use crate::model::mimi::config::MimiConfig;
use crate::model::mimi::conv::{ConvShape, Padding};
use crate::model::transformer::{Feed, Shape};

/// Slots whose convolutions are computed together: bounds the scratch, and is plenty for every product.
const GROUP: usize = 256;
/// Encoder steps (25 Hz) in one frame.
const STEPS: usize = 2;

struct Residual {
    narrow: Conv,
    widen: Conv,
}

struct Level {
    residuals: Vec<Residual>,
    down: Conv,
}

struct Book {
    entries: Matrix,
    half_norms: Ptr,
}

/// One residual chain behind an input projection.
struct Chain {
    project: Matrix,
    books: Vec<Book>,
}

/// f32 buffers: of one group of slots, then of a whole bucket.
struct Scratch {
    trunk: Ptr,
    next: Ptr,
    narrow: Ptr,
    unfolded: Ptr,
    /// `[slots][2][dimension]`
    steps: Ptr,
    unfolded_down: Ptr,
    latents: Ptr,
    residual: Ptr,
    products: Ptr,
}

/// The encoder, with state for every row.
pub(super) struct Mimi {
    first: Conv,
    levels: Vec<Level>,
    last: Conv,
    transformer: Transformer,
    downsample: Conv,
    chains: [Chain; 2],
    scratch: Scratch,
    dimension: usize,
    frame: usize,
    width: usize,
    bins: usize,
    exact: bool,
}

/// Shapes of the convolutions in the order of their use, with the names of their tensors.
fn shapes(config: &MimiConfig) -> Vec<(String, ConvShape)> {
    let c = &config.seanet;
    let (mut steps, mut channels) = (config.frame_samples(), c.n_filters);
    let mut all = Vec::new();
    let mut add = |index: String, input, output, kernel, stride, steps| {
        let shape = ConvShape {
            input,
            output,
            kernel,
            stride,
            steps,
        };
        all.push((format!("encoder.model.{index}.conv.conv"), shape));
    };
    add("0".to_owned(), 1, channels, c.kernel_size, 1, steps);
    let mut index = 1;
    for stride in c.ratios.iter().rev().copied() {
        for _ in 0..c.n_residual_layers {
            let narrow = channels / c.compress;
            add(
                format!("{index}.block.1"),
                channels,
                narrow,
                c.residual_kernel_size,
                1,
                steps,
            );
            add(format!("{index}.block.3"), narrow, channels, 1, 1, steps);
            index += 1;
        }
        add(
            (index + 1).to_string(),
            channels,
            2 * channels,
            2 * stride,
            stride,
            steps,
        );
        index += 2;
        (steps, channels) = (steps / stride, channels * 2);
    }
    add(
        (index + 1).to_string(),
        channels,
        config.dimension,
        c.last_kernel_size,
        1,
        steps,
    );
    all
}

fn down_shape(config: &MimiConfig) -> ConvShape {
    ConvShape {
        input: config.dimension,
        output: config.dimension,
        kernel: 2 * STEPS,
        stride: STEPS,
        steps: STEPS,
    }
}

fn transformer_shape(config: &MimiConfig) -> Shape {
    let t = &config.transformer;
    Shape {
        dim: config.dimension,
        heads: t.num_heads,
        layers: t.num_layers,
        hidden: t.dim_feedforward,
        feed: Feed::Gelu,
        context: t.context,
        max_period: t.max_period,
        layer_scale: t.layer_scale,
        tokens: STEPS,
    }
}

/// Bytes of state one row costs.
pub(super) fn row_bytes(config: &MimiConfig) -> usize {
    let history = |shape: &ConvShape| conv::row_bytes(shape);
    shapes(config).iter().map(|(_, s)| history(s)).sum::<usize>()
        + history(&down_shape(config))
        + transformer::row_bytes(&transformer_shape(config), Cache::Plain(Real::F32))
}

/// Bytes of scratch for `rows` slots, rounded up.
pub(super) fn scratch_bytes(config: &MimiConfig, rows: usize) -> usize {
    let unfolded = |s: &ConvShape| s.steps / s.stride * (s.kernel * s.input + 8);
    let shapes = shapes(config);
    let widest = |f: &dyn Fn(&ConvShape) -> usize| shapes.iter().map(|(_, s)| f(s)).max().unwrap_or(0);
    let group = widest(&unfolded) + 3 * widest(&|s| s.steps / s.stride * s.output);
    let q = &config.quantizer;
    let slot = 7 * config.dimension + q.dimension + q.bins;
    4 * (rows.min(GROUP) * group + rows * slot)
        + rows * transformer::slot_bytes(&transformer_shape(config), Real::F32)
}

impl Mimi {
    /// Loads the encoder half of a Mimi checkpoint, using its first `codebooks` codebooks.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        config: &MimiConfig,
        codebooks: usize,
        (rows, exact): (usize, bool),
    ) -> Result<Self, LoadError> {
        let (d, q) = (config.dimension, &config.quantizer);
        let named = shapes(config);
        let mut convs = Vec::with_capacity(named.len());
        for (name, shape) in &named {
            convs.push(Conv::load(l, name, *shape, (Padding::Zeros, true), rows)?);
        }
        let group = rows.min(GROUP);
        let most = |f: &dyn Fn(&ConvShape) -> usize| named.iter().map(|(_, s)| f(s)).max().unwrap_or(0);
        let widest = most(&|s| s.steps / s.stride * s.output);
        let unfolded = convs.iter().map(Conv::unfolded_bytes).max().unwrap_or(0);
        let mut convs = convs.into_iter();
        let mut take = || {
            convs
                .next()
                .ok_or_else(|| LoadError::Config("the codec has no convolutions".to_owned()))
        };
        let first = take()?;
        let mut levels = Vec::new();
        for _ in &config.seanet.ratios {
            let mut residuals = Vec::new();
            for _ in 0..config.seanet.n_residual_layers {
                residuals.push(Residual {
                    narrow: take()?,
                    widen: take()?,
                });
            }
            levels.push(Level {
                residuals,
                down: take()?,
            });
        }
        let last = take()?;
        let downsample = Conv::load(
            l,
            "downsample.conv.conv.conv",
            down_shape(config),
            (Padding::Replicate, false),
            rows,
        )?;
        let stages = (Stage::CodecTransformer, Stage::CodecTransformer);
        let transformer = Transformer::load(
            l,
            "encoder_transformer.transformer",
            transformer_shape(config),
            Held {
                rows,
                real: Real::F32,
                cache: Cache::Plain(Real::F32),
                exact,
            },
            stages,
        )?;
        let scratch = Scratch {
            trunk: l.space(group * widest * 4)?,
            next: l.space(group * widest * 4)?,
            narrow: l.space(group * widest * 4)?,
            unfolded: l.space(group * unfolded)?,
            steps: l.space(rows * STEPS * d * 4)?,
            unfolded_down: l.space(rows * downsample.unfolded_bytes())?,
            latents: l.space(rows * d * 4)?,
            residual: l.space(rows * q.dimension * 4)?,
            products: l.space(rows * q.bins * 4)?,
        };
        Ok(Self {
            first,
            levels,
            last,
            transformer,
            downsample,
            chains: [
                Chain::load(l, "rvq_first", config, 1)?,
                Chain::load(l, "rvq_rest", config, codebooks - 1)?,
            ],
            scratch,
            dimension: d,
            frame: config.frame_samples(),
            width: q.dimension,
            bins: q.bins,
            exact,
        })
    }

    /// Queues the encoding of one frame of each of `n` slots: `pcm` is `[n][samples]`, `codes` gets `[n][codebooks]`.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, slots: Ptr, n: usize, pcm: Ptr, codes: Ptr) {
        let (d, s) = (self.dimension, &self.scratch);
        b.mark(Stage::Convolutions);
        for from in (0..n).step_by(GROUP) {
            let group = GROUP.min(n - from);
            let pcm = pcm.plus(from * self.frame * 4);
            let out = s.steps.plus(from * STEPS * d * 4);
            self.convolve(b, slots.plus(from * size_of::<Slot>()), group, pcm, out);
        }
        self.transformer.launch(b, slots, n, s.steps);
        b.mark(Stage::Quantizer);
        let io = Io {
            slots,
            n,
            x: s.steps,
            unfolded: s.unfolded_down,
            y: s.latents,
            elu: false,
            add: false,
            exact: self.exact,
        };
        self.downsample.launch(b, io);
        self.quantise(b, n, codes);
    }

    // SEANet over one group.
    fn convolve<B: Backend>(&self, b: &mut B, slots: Ptr, n: usize, pcm: Ptr, out: Ptr) {
        let s = &self.scratch;
        let io = |x, y, elu, add| Io {
            slots,
            n,
            x,
            unfolded: s.unfolded,
            y,
            elu,
            add,
            exact: self.exact,
        };
        let (mut trunk, mut next) = (s.trunk, s.next);
        self.first.launch(b, io(pcm, trunk, false, false));
        for Level { residuals, down } in &self.levels {
            for Residual { narrow, widen } in residuals {
                narrow.launch(b, io(trunk, s.narrow, true, false));
                widen.launch(b, io(s.narrow, trunk, true, true));
            }
            down.launch(b, io(trunk, next, true, false));
            std::mem::swap(&mut trunk, &mut next);
        }
        self.last.launch(b, io(trunk, out, true, false));
    }

    // Both chains quantise the same latents. Always in full f32: a code is a decision.
    fn quantise<B: Backend>(&self, b: &mut B, n: usize, codes: Ptr) {
        let s = &self.scratch;
        let product = |w, x, y| Product {
            w,
            m: n,
            x,
            y,
            add: false,
            exact: true,
        };
        let books = self.chains.iter().map(|c| c.books.len()).sum::<usize>();
        let mut at = 0;
        for chain in &self.chains {
            b.product(product(chain.project, s.latents, s.residual));
            for book in &chain.books {
                b.product(product(book.entries, s.residual, s.products));
                let nearest = NearestArgs {
                    products: s.products,
                    half_norms: book.half_norms,
                    entries: book.entries.at,
                    residual: s.residual,
                    codes,
                    bins: self.bins as u32,
                    width: self.width as u32,
                    books: books as u32,
                    book: at,
                };
                b.launch(Kernel::Nearest, [n, 1, 1], nearest);
                at += 1;
            }
        }
    }

    /// Width of a latent.
    pub(super) fn dimension(&self) -> usize {
        self.dimension
    }

    /// Where the last step's latents lie, `[slots][dimension]`.
    pub(super) fn latents(&self) -> Ptr {
        self.scratch.latents
    }
}

impl Chain {
    fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        name: &str,
        config: &MimiConfig,
        levels: usize,
    ) -> Result<Self, LoadError> {
        let (d, q) = (config.dimension, &config.quantizer);
        let project = format!("quantizer.{name}.input_proj.weight");
        let values = l.source.values(&project, &[q.dimension, d, 1])?;
        let project = l.lines(values.chunks_exact(d), d, Real::F32)?;
        let mut books = Vec::with_capacity(levels);
        for level in 0..levels {
            let prefix = format!("quantizer.{name}.vq.layers.{level}._codebook");
            let (entries, half_norms) = codebook(l, &prefix, q.bins, q.dimension)?;
            let mut entries = l.lines(entries.chunks_exact(q.dimension), q.dimension, Real::F32)?;
            entries.n = q.bins;
            books.push(Book {
                entries,
                half_norms: l.floats(&half_norms)?,
            });
        }
        Ok(Self { project, books })
    }
}

// Entries, and half of their squared lengths, as `mimi/quantizer.rs` has them.
fn codebook<B: Backend>(
    l: &Loader<'_, B>,
    prefix: &str,
    bins: usize,
    width: usize,
) -> Result<(Vec<f32>, Vec<f32>), LoadError> {
    let mut entries = l
        .source
        .values(&format!("{prefix}.embedding_sum"), &[bins, width])?;
    let usage = l.source.values(&format!("{prefix}.cluster_usage"), &[bins])?;
    for (entry, usage) in entries.chunks_exact_mut(width).zip(usage) {
        entry.iter_mut().for_each(|x| *x /= usage.max(1e-5));
    }
    let half = |e: &[f32]| (e.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 2.0) as f32;
    let half_norms = entries.chunks_exact(width).map(half).collect();
    Ok((entries, half_norms))
}
