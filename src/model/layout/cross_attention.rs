//! Tensor names of a layer's cross attention: queries from the stream, keys and values from the stream's voice.

use super::transformer::{Feed, MatrixLayout, NormLayout, Stack};

/// Tensors of one layer.
#[derive(Clone, Debug)]
pub(crate) struct CrossAttentionLayout {
    pub(crate) norm: NormLayout,
    /// Projections to queries, keys and values.
    pub(crate) projections: [MatrixLayout; 3],
    pub(crate) out_proj: MatrixLayout,
}

impl CrossAttentionLayout {
    /// Returns the tensors of layer `index`, `dim` wide, of the transformer called `prefix`.
    pub(crate) fn new(prefix: &str, index: usize, dim: usize) -> Self {
        let name = |part: &str| format!("{prefix}.layers.{index}.{part}");
        let projection = |index| {
            let name = name("cross_attention.in_proj_weight");
            MatrixLayout::new(name, dim, dim).stacked(Stack { index, of: 3 })
        };
        Self {
            // LayerNorm, whatever norm the layer has otherwise.
            norm: Feed::Gelu.norm(&name("norm_cross"), dim),
            projections: [0, 1, 2].map(projection),
            out_proj: MatrixLayout::new(name("cross_attention.out_proj.weight"), dim, dim),
        }
    }

    /// Returns how many values the weights have.
    pub(crate) fn values(&self) -> u64 {
        let projections = self.projections.iter().map(MatrixLayout::values);
        projections.sum::<u64>() + self.out_proj.values() + 2 * self.norm.dim as u64
    }
}
