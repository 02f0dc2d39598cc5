//! The language model on the device: codes and the last token of each row in, token and pauses out.

use super::args::{ChooseArgs, EmbedArgs, HearArgs, Kernel, MAX_BOOKS};
use super::backend::{Backend, Cache, Matrix, Product, Ptr, Real, Stage};
use super::source::{Loader, Source};
use super::transformer::{self, Held, Norm, Transformer};
use crate::config::module::AsrModule;
use crate::model::conditioning;
use crate::model::error::LoadError;
use crate::model::lm::{gated_width, initial_token, supported};
use crate::model::transformer::{Feed, Shape};

/// Weights, per-row state and scratch of the language model.
pub(super) struct Lm {
    held: Held,
    text: Ptr,
    audio: Ptr,
    condition: Ptr,
    transformer: Transformer,
    out_norm: Norm,
    /// Text head, then the pause heads one after the other.
    head: Matrix,
    /// u32 `[rows]`: what each row said last. Meaningless while a row is fresh.
    tokens: Ptr,
    /// u32 `[rows][codebooks]`: codes of each row's previous frame. Likewise.
    previous: Ptr,
    /// f32 `[slots][dim]`.
    x: Ptr,
    /// In the weights' format, `[slots][dim]`.
    hidden: Ptr,
    /// f32 `[slots][head.n]`.
    logits: Ptr,
    sizes: Sizes,
}

#[derive(Clone, Copy)]
struct Sizes {
    dim: usize,
    books: usize,
    audio_vocabulary: usize,
    vocabulary: usize,
    heads: usize,
    classes: usize,
    initial_token: u32,
    initial_code: u32,
    temperature: f64,
}

fn shape(module: &AsrModule) -> Shape {
    let t = &module.model.transformer;
    Shape {
        dim: t.d_model,
        heads: t.num_heads,
        layers: t.num_layers,
        hidden: gated_width(t),
        feed: Feed::SwiGlu,
        context: t.context,
        max_period: t.max_period,
        layer_scale: false,
        tokens: 1,
    }
}

/// Bytes of state one row costs.
pub(super) fn row_bytes(module: &AsrModule, cache: Cache) -> usize {
    transformer::row_bytes(&shape(module), cache) + 4 * (1 + module.model.audio_codebooks)
}

/// Bytes of scratch for one slot, rounded up.
pub(super) fn slot_bytes(module: &AsrModule, real: Real) -> usize {
    let m = &module.model;
    let heads = m.extra_heads.as_ref().map_or(0, |h| h.num_heads * h.dim);
    let d = m.transformer.d_model;
    transformer::slot_bytes(&shape(module), real)
        + d * (4 + real.bytes())
        + 4 * (m.text_out_vocab_size + heads + 8)
}

impl Lm {
    /// Loads the model that `module` describes.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        module: &AsrModule,
        held: Held,
    ) -> Result<Self, LoadError> {
        let Held { rows, real, .. } = held;
        let (m, t) = (&module.model, &module.model.transformer);
        supported(t)?;
        let (d, books) = (t.d_model, m.audio_codebooks);
        let (heads, classes) = m.extra_heads.as_ref().map_or((0, 0), |h| (h.num_heads, h.dim));
        if books > MAX_BOOKS || heads > super::args::BLOCK {
            return Err(LoadError::Config(format!(
                "{books} codebooks and {heads} extra heads are more than a GPU's kernels take ({MAX_BOOKS} and 256)"
            )));
        }
        let names: Vec<String> = (0..books).map(|i| format!("emb.{i}.weight")).collect();
        let text = ["text_emb.weight".to_owned()];
        let mut head = l
            .source
            .values("text_linear.weight", &[m.text_out_vocab_size, d])?;
        for i in 0..heads {
            head.extend(
                l.source
                    .values(&format!("extra_heads.{i}.weight"), &[classes, d])?,
            );
        }
        let condition = match l.source {
            Source::File(weights) => conditioning::load(weights, module)?,
            Source::Random(_) => None,
        };
        let head = l.lines(head.chunks_exact(d), d, real)?;
        Ok(Self {
            text: l.tables(&text, (m.text_in_vocab_size, d), real)?,
            audio: l.tables(&names, (m.audio_vocab_size, d), real)?,
            condition: match condition {
                Some(values) => l.floats(&values)?,
                None => Ptr::NULL,
            },
            transformer: Transformer::load(
                l,
                "transformer",
                shape(module),
                held,
                (Stage::LmProducts, Stage::LmAttention),
            )?,
            out_norm: Norm::load(l, "out_norm", d, Feed::SwiGlu)?,
            tokens: l.space(rows * 4)?,
            previous: l.space(rows * books * 4)?,
            x: l.space(rows * d * 4)?,
            hidden: l.space(rows * d * real.bytes())?,
            logits: l.space(rows * head.n * 4)?,
            sizes: Sizes {
                dim: d,
                books,
                audio_vocabulary: m.audio_vocab_size,
                vocabulary: m.text_out_vocab_size,
                heads,
                classes,
                initial_token: initial_token(m.text_in_vocab_size, "text_in_vocab_size")?,
                initial_code: initial_token(m.audio_vocab_size, "audio_vocab_size")?,
                temperature: module.temperature,
            },
            held,
            head,
        })
    }

    /// Queues one step of `n` slots, which hears the codes of the frame before (see [`Lm::hear`]): `chosen` gets a u32 a
    /// slot and `pauses` (`[n][heads]`) f32.
    pub(super) fn launch<B: Backend>(
        &self,
        b: &mut B,
        (slots, n): (Ptr, usize),
        (chosen, pauses): (Ptr, Ptr),
    ) {
        let s = &self.sizes;
        b.mark(Stage::Embedding);
        let embed = EmbedArgs {
            slots,
            text: self.text,
            audio: self.audio,
            condition: self.condition,
            tokens: self.tokens,
            previous: self.previous,
            x: self.x,
            d: s.dim as u32,
            books: s.books as u32,
            audio_vocabulary: s.audio_vocabulary as u32,
            initial_token: s.initial_token,
            initial_code: s.initial_code,
            unused: 0,
        };
        b.launch(
            Kernel::of(self.held.real, Kernel::EmbedF32, Kernel::EmbedBf16),
            [n, 1, 1],
            embed,
        );
        self.transformer.launch(b, slots, n, self.x);
        b.mark(Stage::Head);
        self.out_norm.launch(b, n, self.x, self.hidden, self.held.real);
        b.product(Product {
            w: self.head,
            m: n,
            x: self.hidden,
            y: self.logits,
            add: false,
            exact: self.held.exact,
        });
        let choose = ChooseArgs {
            slots,
            logits: self.logits,
            tokens: self.tokens,
            chosen,
            pauses,
            temperature: s.temperature,
            vocabulary: s.vocabulary as u32,
            stride: self.head.n as u32,
            heads: s.heads as u32,
            classes: s.classes as u32,
        };
        b.launch(Kernel::Choose, [n, 1, 1], choose);
    }

    /// Queues that the next step shall hear `codes` (`[n][codebooks]`).
    pub(super) fn hear<B: Backend>(&self, b: &mut B, (slots, n): (Ptr, usize), codes: Ptr) {
        let args = HearArgs {
            slots,
            codes,
            previous: self.previous,
            books: self.sizes.books as u32,
            unused: 0,
        };
        b.launch(Kernel::Hear, [n, 1, 1], args);
    }

    /// Where the rings lie, and their bytes.
    #[cfg(feature = "cuda")]
    pub(super) fn rings(&self) -> Vec<(Ptr, usize)> {
        self.transformer.rings()
    }

    /// Where the last step's logits lie, and how wide a slot's line is.
    pub(super) fn logits(&self) -> (Ptr, usize) {
        (self.logits, self.head.n)
    }

    /// Where each row's last token lies, u32.
    pub(super) fn tokens(&self) -> Ptr {
        self.tokens
    }
}
