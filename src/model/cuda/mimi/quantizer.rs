//! The split residual vector quantizer on the device: latents to codes.

use crate::model::cuda::backend::{Backend, Matrix, Product, Ptr};
use crate::model::cuda::kernels::{Kernel, NearestArgs};
use crate::model::cuda::source::Loader;
use crate::model::error::LoadError;
use crate::model::layout::dtype::Real;
use crate::model::layout::mimi::MimiConfig;
use crate::model::layout::quantizer::{self, ChainLayout, CodebookValues};

struct Codebook {
    entries: Matrix,
    half_norms: Ptr,
}

/// One residual chain behind an input projection.
struct Chain {
    project: Matrix,
    books: Vec<Codebook>,
}

/// Both chains, and f32 buffers of a whole bucket.
pub(super) struct Quantizer {
    chains: [Chain; 2],
    /// `[slots][width]`
    residual: Ptr,
    /// `[slots][bins]`
    products: Ptr,
    width: usize,
    bins: usize,
}

impl Quantizer {
    /// Loads the first `codebooks` codebooks.
    ///
    /// # Errors
    /// A tensor is missing or wrong, or the device is full.
    pub(super) fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        config: &MimiConfig,
        codebooks: usize,
        rows: usize,
    ) -> Result<Self, LoadError> {
        let (q, [first, rest]) = (&config.quantizer, quantizer::chains(codebooks));
        Ok(Self {
            chains: [Chain::load(l, &first, config)?, Chain::load(l, &rest, config)?],
            residual: l.space(rows * q.dimension * 4)?,
            products: l.space(rows * q.bins * 4)?,
            width: q.dimension,
            bins: q.bins,
        })
    }

    /// Queues the codes of `n` slots: both chains quantise the same `latents`.
    pub(super) fn launch<B: Backend>(&self, b: &mut B, n: usize, latents: Ptr, codes: Ptr) {
        // Always in full f32: a code is a decision.
        let product = |w, x, y| Product {
            w,
            m: n,
            x,
            y,
            add: false,
            exact: true,
        };
        let books = self.chains.iter().map(|chain| chain.books.len()).sum::<usize>();
        let mut index = 0;
        for chain in &self.chains {
            b.product(product(chain.project, latents, self.residual));
            for book in &chain.books {
                b.product(product(book.entries, self.residual, self.products));
                let nearest = NearestArgs {
                    products: self.products,
                    half_norms: book.half_norms,
                    entries: book.entries.at,
                    residual: self.residual,
                    codes,
                    bins: self.bins as u32,
                    width: self.width as u32,
                    books: books as u32,
                    book: index,
                };
                b.launch(Kernel::Nearest, [n, 1, 1], nearest);
                index += 1;
            }
        }
    }
}

impl Chain {
    fn load<B: Backend>(
        l: &mut Loader<'_, B>,
        layout: &ChainLayout,
        config: &MimiConfig,
    ) -> Result<Self, LoadError> {
        let d = config.dimension;
        let (width, bins) = (config.quantizer.dimension, config.quantizer.bins);
        let values = l.source.values(&layout.input, &[width, d, 1])?;
        let project = l.lines(values.chunks_exact(d), d, Real::F32)?;
        let mut books = Vec::with_capacity(layout.books.len());
        for book in &layout.books {
            let sums = l.source.values(&book.sums, &[bins, width])?;
            let usage = l.source.values(&book.usage, &[bins])?;
            let book = CodebookValues::new(sums, &usage, width);
            let mut entries = l.lines(book.entries.chunks_exact(width), width, Real::F32)?;
            // Lines of products are as wide as there are entries: nothing is filled up.
            entries.n = bins;
            books.push(Codebook {
                entries,
                half_norms: l.floats(&book.half_norms)?,
            });
        }
        Ok(Self { project, books })
    }
}
