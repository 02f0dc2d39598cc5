//! The split residual vector quantizer: latents to codes.
//!
//! The first (semantic) codebook and the chain of the rest quantise the same latent, each through its own projection.

use super::config::MimiConfig;
use crate::model::cpu::gemm::Write;
use crate::model::cpu::matrix::{Matrix, WeightFormat};
use crate::model::cpu::pool::Pool;
use crate::model::error::LoadError;
use crate::model::transformer::linear;
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
    fn load(w: &Weights, name: &str, config: &MimiConfig, levels: usize) -> Result<Self, LoadError> {
        let (d, q) = (config.dimension, &config.quantizer);
        let projection = w.values(
            &format!("quantizer.{name}.input_proj.weight"),
            &[q.dimension, d, 1],
        )?;
        let books = (0..levels).map(|level| {
            let prefix = format!("quantizer.{name}.vq.layers.{level}._codebook");
            let mut entries = w.values(&format!("{prefix}.embedding_sum"), &[q.bins, q.dimension])?;
            let usage = w.values(&format!("{prefix}.cluster_usage"), &[q.bins])?;
            for (entry, usage) in entries.chunks_exact_mut(q.dimension).zip(usage) {
                entry.iter_mut().for_each(|x| *x /= usage.max(1e-5));
            }
            let half_norm = |e: &[f32]| (e.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 2.0) as f32;
            Ok(Codebook {
                half_norms: entries.chunks_exact(q.dimension).map(half_norm).collect(),
                entries: Matrix::new(q.bins, q.dimension, &entries, WeightFormat::F32),
            })
        });
        Ok(Self {
            project: Matrix::new(q.dimension, d, &projection, WeightFormat::F32),
            books: books.collect::<Result<_, LoadError>>()?,
        })
    }
}

/// The quantizer, with scratch for a step.
pub(crate) struct Quantizer {
    first: Chain,
    rest: Chain,
    width: usize,
    bins: usize,
    residual: Vec<f32>,
    products: Vec<f32>,
}

/// Rows whose distances are computed together: bounds the scratch.
const GROUP: usize = 16;

impl Quantizer {
    /// Loads the first `codebooks` codebooks.
    pub(crate) fn load(w: &Weights, config: &MimiConfig, codebooks: usize) -> Result<Self, LoadError> {
        let q = &config.quantizer;
        if codebooks == 0 || codebooks > q.n_q {
            return Err(LoadError::Config(format!(
                "audio_codebooks is {codebooks}, but {} has {} of them",
                w.path().display(),
                q.n_q
            )));
        }
        Ok(Self {
            first: Chain::load(w, "rvq_first", config, 1)?,
            rest: Chain::load(w, "rvq_rest", config, codebooks - 1)?,
            width: q.dimension,
            bins: q.bins,
            residual: vec![0.0; GROUP * q.dimension + 32],
            products: vec![0.0; GROUP * q.bins],
        })
    }

    /// Codes of `latents` (`rows × dimension`) into `codes` (`rows × codebooks`); ties go to the lowest index.
    pub(crate) fn encode(
        &mut self,
        pool: &mut Pool,
        rows: usize,
        latents: &[f32],
        stride: usize,
        codes: &mut [u32],
    ) {
        let levels = 1 + self.rest.books.len();
        let Self {
            first,
            rest,
            width,
            bins,
            residual,
            products,
        } = self;
        for from in (0..rows).step_by(GROUP) {
            let n = GROUP.min(rows - from);
            let codes = &mut codes[from * levels..(from + n) * levels];
            for (chain, at) in [(&*first, 0), (&*rest, 1)] {
                linear(
                    pool,
                    &chain.project,
                    n,
                    &latents[from * stride..],
                    stride,
                    residual,
                    Write::Set,
                );
                for (level, book) in chain.books.iter().enumerate() {
                    linear(pool, &book.entries, n, residual, *width, products, Write::Set);
                    for row in 0..n {
                        let code = nearest(&products[row * *bins..][..*bins], &book.half_norms);
                        codes[row * levels + at + level] = code as u32;
                        let entry = book.entries.f32_row(code);
                        residual[row * *width..][..*width]
                            .iter_mut()
                            .zip(entry)
                            .for_each(|(x, e)| *x -= e);
                    }
                }
            }
        }
    }
}

// argmin |x - e|² = argmin |e|²/2 - x·e
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
