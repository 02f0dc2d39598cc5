//! Tensors of the split residual vector quantizer, and how its codebooks are computed from what a checkpoint holds.
//!
//! The first (semantic) codebook and the chain of the rest quantise the same latent, each through its own projection.

use super::mimi::MimiConfig;

/// Stands for the code of a codebook that is left out: it adds nothing to a frame.
pub(crate) const ABSENT: u32 = u32::MAX;

/// Least usage of an entry: entries that were never used in training are not divided by zero.
const LEAST_USAGE: f32 = 1e-5;

/// One residual chain between projections.
#[derive(Clone, Debug)]
pub(crate) struct ChainLayout {
    /// Name of the projection of latents to code vectors, `[width, dimension, 1]`.
    pub(crate) input: String,
    /// Name of the projection of code vectors to latents, `[dimension, width, 1]`.
    pub(crate) output: String,
    pub(crate) books: Vec<CodebookLayout>,
}

/// Tensors of a codebook: sums of the vectors that fell to each entry, `[bins, width]`, and their numbers, `[bins]`.
#[derive(Clone, Debug)]
pub(crate) struct CodebookLayout {
    pub(crate) sums: String,
    pub(crate) usage: String,
}

/// Entries of a codebook, `[bins][width]`, and `|e|² / 2` of each: `argmin |x - e|² = argmin |e|² / 2 - x·e`.
pub(crate) struct CodebookValues {
    pub(crate) entries: Vec<f32>,
    pub(crate) half_norms: Vec<f32>,
}

/// Returns the two chains of the first `codebooks` codebooks.
pub(crate) fn chains(codebooks: usize) -> [ChainLayout; 2] {
    [("rvq_first", 1), ("rvq_rest", codebooks.saturating_sub(1))].map(|(name, levels)| ChainLayout {
        input: format!("quantizer.{name}.input_proj.weight"),
        output: format!("quantizer.{name}.output_proj.weight"),
        books: (0..levels)
            .map(|level| {
                let prefix = format!("quantizer.{name}.vq.layers.{level}._codebook");
                CodebookLayout {
                    sums: format!("{prefix}.embedding_sum"),
                    usage: format!("{prefix}.cluster_usage"),
                }
            })
            .collect(),
    })
}

/// Returns how many values the weights of the first `codebooks` codebooks have, with the projections of one direction.
pub(crate) fn values(config: &MimiConfig, codebooks: usize) -> u64 {
    let q = &config.quantizer;
    (2 * q.dimension * config.dimension + codebooks * q.bins * (q.dimension + 1)) as u64
}

impl CodebookValues {
    /// Computes the entries, which are the means of the vectors that fell to them.
    pub(crate) fn new(sums: Vec<f32>, usage: &[f32], width: usize) -> Self {
        let mut entries = sums;
        for (entry, usage) in entries.chunks_exact_mut(width).zip(usage) {
            entry.iter_mut().for_each(|x| *x /= usage.max(LEAST_USAGE));
        }
        let half_norm = |e: &[f32]| (e.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / 2.0) as f32;
        Self {
            half_norms: entries.chunks_exact(width).map(half_norm).collect(),
            entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_means_and_unused_ones_stay_finite() {
        let book = CodebookValues::new(vec![6.0, 8.0, 0.0, 1e-5], &[2.0, 0.0], 2);
        assert_eq!(book.entries, [3.0, 4.0, 0.0, 1.0]);
        assert_eq!(book.half_norms, [12.5, 0.5]);
    }

    #[test]
    fn the_first_codebook_has_a_chain_of_its_own() {
        let [first, rest] = chains(8);
        assert_eq!((first.books.len(), rest.books.len()), (1, 7));
        assert_eq!(
            rest.books[6].usage,
            "quantizer.rvq_rest.vq.layers.6._codebook.cluster_usage"
        );
    }
}
