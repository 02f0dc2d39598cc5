//! Tensor names of an embedding: a table, and what its vectors are multiplied with on their way to the model's width.

use super::transformer::MatrixLayout;

/// An embedding's tensors.
#[derive(Clone, Debug)]
pub(crate) struct EmbeddingLayout {
    pub(crate) table: MatrixLayout,
    pub(crate) projection: Projection<MatrixLayout>,
}

/// What becomes of a vector of the table.
#[derive(Clone, Debug)]
pub(crate) enum Projection<M> {
    /// It is the embedding.
    None,
    /// It is multiplied with a matrix: the table is narrower than the model (low-rank embeddings).
    LowRank(M),
    /// A token is of the main text stream or of the second one; each stream has a matrix.
    Streams([M; 2]),
}

impl EmbeddingLayout {
    /// Returns the embedding of `entries` tokens called `name`, `dim` wide: of two text streams if `streams`, with vectors
    /// of `low_rank` numbers if given.
    pub(crate) fn new(
        name: &str,
        entries: usize,
        dim: usize,
        low_rank: Option<usize>,
        streams: bool,
    ) -> Self {
        let width = low_rank.unwrap_or(dim);
        let matrix = |part: &str| MatrixLayout::new(format!("{name}.{part}.weight"), dim, width);
        Self {
            table: MatrixLayout::new(format!("{name}.weight"), entries, width),
            projection: match (streams, low_rank) {
                (true, _) => Projection::Streams(["out1", "out2"].map(matrix)),
                (false, Some(_)) => Projection::LowRank(matrix("low_rank")),
                (false, None) => Projection::None,
            },
        }
    }

    /// Returns how many values the weights have.
    pub(crate) fn values(&self) -> u64 {
        let projection = match &self.projection {
            Projection::None => 0,
            Projection::LowRank(matrix) => matrix.values(),
            Projection::Streams(matrices) => matrices.iter().map(MatrixLayout::values).sum(),
        };
        self.table.values() + projection
    }
}

impl<M> Projection<M> {
    /// Turns each matrix into another form of it.
    ///
    /// # Errors
    /// The first of `f`.
    pub(crate) fn try_map<N, E>(&self, mut f: impl FnMut(&M) -> Result<N, E>) -> Result<Projection<N>, E> {
        Ok(match self {
            Self::None => Projection::None,
            Self::LowRank(matrix) => Projection::LowRank(f(matrix)?),
            Self::Streams([main, second]) => Projection::Streams([f(main)?, f(second)?]),
        })
    }
}
