//! The split residual vector quantizer, backwards: codes to latents.

use crate::model::cpu::kernels::gemm::Write;
use crate::model::cpu::kernels::matrix::Matrix;
use crate::model::cpu::kernels::pool::Pool;
use crate::model::cpu::linear::{SLACK, linear};
use crate::model::error::LoadError;
use crate::model::layout::dtype::WeightFormat;
use crate::model::layout::mimi::MimiConfig;
use crate::model::layout::quantizer::{self, ABSENT, ChainLayout, CodebookValues};
use crate::model::weights::Weights;

/// One residual chain before an output projection.
struct Chain {
    /// `[bins][width]` per codebook.
    books: Vec<Vec<f32>>,
    project: Matrix,
}

impl Chain {
    fn load(w: &Weights, layout: &ChainLayout, config: &MimiConfig) -> Result<Self, LoadError> {
        let (d, width, bins) = (
            config.dimension,
            config.quantizer.dimension,
            config.quantizer.bins,
        );
        let books = layout.books.iter().map(|book| {
            let (sums, usage) = (
                w.values(&book.sums, &[bins, width])?,
                w.values(&book.usage, &[bins])?,
            );
            Ok(CodebookValues::new(sums, &usage, width).entries)
        });
        let projection = w.values(&layout.output, &[d, width, 1])?;
        Ok(Self {
            books: books.collect::<Result<_, LoadError>>()?,
            project: Matrix::new(d, width, &projection, WeightFormat::F32),
        })
    }
}

/// The codebooks, with scratch for a step.
pub(super) struct Dequantizer {
    chains: [Chain; 2],
    width: usize,
    bins: usize,
    /// `[row][width]`
    sums: Vec<f32>,
}

impl Dequantizer {
    /// Loads the first `codebooks` codebooks, for up to `rows` rows.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn load(
        w: &Weights,
        config: &MimiConfig,
        codebooks: usize,
        rows: usize,
    ) -> Result<Self, LoadError> {
        let [first, rest] = quantizer::chains(codebooks);
        let q = &config.quantizer;
        Ok(Self {
            chains: [Chain::load(w, &first, config)?, Chain::load(w, &rest, config)?],
            width: q.dimension,
            bins: q.bins,
            sums: vec![0.0; rows * q.dimension + SLACK],
        })
    }

    /// Returns the codebooks.
    pub(super) fn codebooks(&self) -> usize {
        self.chains.iter().map(|chain| chain.books.len()).sum()
    }

    /// Returns the entries per codebook: codes are less than that.
    pub(super) fn bins(&self) -> usize {
        self.bins
    }

    /// Computes the latents of `codes` (`rows × codebooks`) into `latents` (`rows × dimension`): each chain's entries
    /// are summed and projected, and the projections added.
    pub(super) fn decode(&mut self, pool: &mut Pool, rows: usize, codes: &[u32], latents: &mut [f32]) {
        let (levels, width) = (self.codebooks(), self.width);
        let mut level = 0;
        for chain in self.chains.iter().filter(|chain| !chain.books.is_empty()) {
            self.sums[..rows * width].fill(0.0);
            let sums = self.sums.chunks_exact_mut(width);
            for (sum, codes) in sums.zip(codes.chunks_exact(levels)) {
                let coded = chain.books.iter().zip(&codes[level..]);
                for (book, code) in coded.filter(|(_, code)| **code != ABSENT) {
                    let entry = &book[*code as usize * width..][..width];
                    sum.iter_mut().zip(entry).for_each(|(sum, x)| *sum += x);
                }
            }
            let write = if level == 0 { Write::Set } else { Write::Add };
            linear(pool, &chain.project, rows, &self.sums, width, latents, write);
            level += chain.books.len();
        }
    }
}
