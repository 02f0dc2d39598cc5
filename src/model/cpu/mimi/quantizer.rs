//! The split residual vector quantizer: latents to codes.

use crate::model::cpu::kernels::gemm::Write;
use crate::model::cpu::kernels::matrix::Matrix;
use crate::model::cpu::kernels::pool::Pool;
use crate::model::cpu::linear::{SLACK, linear};
use crate::model::error::LoadError;
use crate::model::layout::dtype::WeightFormat;
use crate::model::layout::mimi::MimiConfig;
use crate::model::layout::quantizer::{self, ChainLayout, CodebookValues};
use crate::model::weights::Weights;

struct Codebook {
    /// `bins × width`
    entries: Matrix,
    /// `|e|² / 2` of each entry.
    half_norms: Vec<f32>,
}

/// One residual chain behind an input projection.
struct Chain {
    project: Matrix,
    books: Vec<Codebook>,
}

impl Chain {
    fn load(w: &Weights, layout: &ChainLayout, config: &MimiConfig) -> Result<Self, LoadError> {
        let (d, width, bins) = (
            config.dimension,
            config.quantizer.dimension,
            config.quantizer.bins,
        );
        let projection = w.values(&layout.input, &[width, d, 1])?;
        let books = layout.books.iter().map(|book| {
            let (sums, usage) = (
                w.values(&book.sums, &[bins, width])?,
                w.values(&book.usage, &[bins])?,
            );
            let book = CodebookValues::new(sums, &usage, width);
            Ok(Codebook {
                entries: Matrix::new(bins, width, &book.entries, WeightFormat::F32),
                half_norms: book.half_norms,
            })
        });
        Ok(Self {
            project: Matrix::new(width, d, &projection, WeightFormat::F32),
            books: books.collect::<Result<_, LoadError>>()?,
        })
    }
}

/// The quantizer, with scratch for a step.
pub(super) struct Quantizer {
    chains: [Chain; 2],
    width: usize,
    bins: usize,
    residual: Vec<f32>,
    products: Vec<f32>,
}

/// Rows whose distances are computed together: bounds the scratch.
const GROUP: usize = 16;

impl Quantizer {
    /// Loads the first `codebooks` codebooks.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn load(w: &Weights, config: &MimiConfig, codebooks: usize) -> Result<Self, LoadError> {
        let [first, rest] = quantizer::chains(codebooks);
        let q = &config.quantizer;
        Ok(Self {
            chains: [Chain::load(w, &first, config)?, Chain::load(w, &rest, config)?],
            width: q.dimension,
            bins: q.bins,
            residual: vec![0.0; GROUP * q.dimension + SLACK],
            products: vec![0.0; GROUP * q.bins],
        })
    }

    /// Quantises `latents` (`stride` apart) into `codes` (`rows × codebooks`); ties go to the lowest index.
    pub(super) fn encode(
        &mut self,
        pool: &mut Pool,
        rows: usize,
        latents: &[f32],
        stride: usize,
        codes: &mut [u32],
    ) {
        let Self {
            chains,
            width,
            bins,
            residual,
            products,
        } = self;
        let (width, bins) = (*width, *bins);
        let levels = chains.iter().map(|chain| chain.books.len()).sum::<usize>();
        for from in (0..rows).step_by(GROUP) {
            let n = GROUP.min(rows - from);
            let codes = &mut codes[from * levels..(from + n) * levels];
            let latents = &latents[from * stride..];
            let mut level = 0;
            for chain in &*chains {
                linear(pool, &chain.project, n, latents, stride, residual, Write::Set);
                for book in &chain.books {
                    linear(pool, &book.entries, n, residual, width, products, Write::Set);
                    for row in 0..n {
                        let code = nearest(&products[row * bins..][..bins], &book.half_norms);
                        codes[row * levels + level] = code as u32;
                        let left = residual[row * width..][..width].iter_mut();
                        left.zip(book.entries.f32_row(code)).for_each(|(x, e)| *x -= e);
                    }
                    level += 1;
                }
            }
        }
    }
}

// argmin |x - e|² = argmin |e|² / 2 - x·e
fn nearest(products: &[f32], half_norms: &[f32]) -> usize {
    let mut best = (0, f32::INFINITY);
    for (i, (product, half_norm)) in products.iter().zip(half_norms).enumerate() {
        let distance = half_norm - product;
        if distance < best.1 {
            best = (i, distance);
        }
    }
    best.0
}
