//! The language model on the device: the previous frame's codes and the last token of each row in, token and pauses out.

use super::backend::{Backend, Matrix, Product, ProfileSpan, Ptr};
use super::kernels::{BLOCK, ChooseArgs, EmbedArgs, HearArgs, Kernel, MAX_BOOKS};
use super::source::{Loader, WeightSource};
use super::transformer::{Held, Norm, Transformer};
use crate::model::conditioning;
use crate::model::error::LoadError;
use crate::model::layout::lm::{
    OUT_NORM, TEXT_EMBEDDING, TEXT_HEAD, TRANSFORMER, audio_embedding, extra_head,
};
use crate::model::stt::config::SttConfig;

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
    /// u32 `[rows]`: each row's last token. Meaningless while a row is fresh.
    tokens: Ptr,
    /// u32 `[rows][codebooks]`: codes of each row's previous frame. Meaningless while a row is fresh.
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

impl Lm {
    /// Loads the language model of `config`.
    ///
    /// # Errors
    /// A tensor is missing or wrong, a setting is not supported, or the device is full.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        config: &SttConfig,
        held: Held,
    ) -> Result<Self, LoadError> {
        let Held { rows, real, .. } = held;
        let lm = &config.lm;
        lm.supported()?;
        let (shape, books) = (lm.shape(), lm.audio_codebooks);
        let (d, vocabulary) = (shape.dim, lm.text_out_vocab_size);
        let (heads, classes) = (lm.pause_heads(), lm.pause_classes());
        if books > MAX_BOOKS || heads > BLOCK {
            return Err(LoadError::Config(format!(
                "{books} codebooks and {heads} extra heads are more than a GPU's kernels take ({MAX_BOOKS} and {BLOCK})"
            )));
        }
        let text = [TEXT_EMBEDDING.to_owned()];
        let audio: Vec<String> = (0..books).map(audio_embedding).collect();
        let mut head = l.source.values(TEXT_HEAD, &[vocabulary, d])?;
        for i in 0..heads {
            head.extend(l.source.values(&extra_head(i), &[classes, d])?);
        }
        let condition = match l.source {
            WeightSource::File(weights) => conditioning::load(weights, lm, config.conditioning)?,
            WeightSource::Random(_) => None,
        };
        let head = l.lines(head.chunks_exact(d), d, real)?;
        let spans = (ProfileSpan::LmProducts, ProfileSpan::LmAttention);
        Ok(Self {
            text: l.tables(&text, (lm.text_in_vocab_size, d), real)?,
            audio: l.tables(&audio, (lm.audio_vocab_size, d), real)?,
            condition: match condition {
                Some(values) => l.floats(&values)?,
                None => Ptr::NULL,
            },
            out_norm: Norm::load(l, &shape.feed.norm(OUT_NORM, d))?,
            transformer: Transformer::load(l, TRANSFORMER, shape, held, spans)?,
            tokens: l.space(rows * 4)?,
            previous: l.space(rows * books * 4)?,
            x: l.space(rows * d * 4)?,
            hidden: l.space(rows * d * real.bytes())?,
            logits: l.space(rows * head.n * 4)?,
            sizes: Sizes {
                dim: d,
                books,
                audio_vocabulary: lm.audio_vocab_size,
                vocabulary,
                heads,
                classes,
                initial_token: lm.initial_token()?,
                initial_code: lm.initial_code()?,
                temperature: config.temperature,
            },
            held,
            head,
        })
    }

    /// Queues one step of `n` slots, with the codes of the frame before (see [`Lm::remember_codes`]): `chosen` gets one u32
    /// per slot, `pauses` gets `[n][heads]` f32.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, slots: Ptr, n: usize, chosen: Ptr, pauses: Ptr) {
        let s = &self.sizes;
        b.mark(ProfileSpan::Embedding);
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
        b.mark(ProfileSpan::Head);
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

    /// Queues that `codes` (`[n][codebooks]`) are the previous frame's for the next step.
    pub(super) fn remember_codes<B: Backend>(&self, b: &mut B, slots: Ptr, n: usize, codes: Ptr) {
        let args = HearArgs {
            slots,
            codes,
            previous: self.previous,
            books: self.sizes.books as u32,
            unused: 0,
        };
        b.launch(Kernel::Hear, [n, 1, 1], args);
    }

    /// Returns where the rings lie, and their bytes.
    #[cfg(feature = "cuda")]
    pub(super) fn rings(&self) -> Vec<(Ptr, usize)> {
        self.transformer.rings()
    }

    /// Returns where the last step's logits lie, and how wide a slot's line is.
    pub(super) fn logits(&self) -> (Ptr, usize) {
        (self.logits, self.head.n)
    }

    /// Returns where each row's last token lies, u32.
    pub(super) fn tokens(&self) -> Ptr {
        self.tokens
    }
}
