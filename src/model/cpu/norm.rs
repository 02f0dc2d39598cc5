//! Norms over the channels of a token.

use super::kernels;
use crate::model::error::LoadError;
use crate::model::layout::transformer::NormLayout;
use crate::model::weights::Weights;

/// A norm over the channels of one token: RMSNorm without a bias, LayerNorm with one.
pub(super) struct Norm {
    weight: Vec<f32>,
    bias: Option<Vec<f32>>,
    eps: f32,
}

impl Norm {
    pub(super) fn load(w: &Weights, layout: &NormLayout) -> Result<Self, LoadError> {
        let bias = layout.bias.as_ref();
        Ok(Self {
            weight: w.values(&layout.weight, &layout.weight_shape)?,
            bias: bias.map(|name| w.values(name, &[layout.dim])).transpose()?,
            eps: layout.eps,
        })
    }

    /// Normalises each token of `x` into `out`.
    pub(super) fn apply(&self, x: &[f32], out: &mut [f32]) {
        let d = self.weight.len();
        for (x, out) in x.chunks_exact(d).zip(out.chunks_exact_mut(d)) {
            match &self.bias {
                None => kernels::rms_norm(x, &self.weight, self.eps, out),
                Some(bias) => kernels::layer_norm(x, &self.weight, bias, self.eps, out),
            }
        }
    }
}
