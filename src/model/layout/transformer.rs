//! Shape and tensor names of a streaming transformer (the Moshi paper, arXiv:2410.00037, and its checkpoints).

/// Shape of a transformer.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) dim: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    /// Hidden width: of the gated half for [`Feed::SwiGlu`], of the plain layer for [`Feed::Gelu`].
    pub(crate) hidden: usize,
    pub(crate) feed: Feed,
    /// Positions that a query can see, its own included.
    pub(crate) context: usize,
    /// Longest period of the rotary positions; 0 where attention knows no positions.
    pub(crate) max_period: f64,
    pub(crate) layer_scale: bool,
    /// Tokens per row and step.
    pub(crate) tokens: usize,
}

/// The feed-forward half of a layer, and the norm that goes with it in Kyutai's checkpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Feed {
    /// Gated by SiLU, with RMSNorm: the language model.
    SwiGlu,
    /// GELU, with LayerNorm: Mimi.
    Gelu,
}

/// Name and shape of a matrix in the checkpoint.
#[derive(Clone, Debug)]
pub(crate) struct MatrixLayout {
    pub(crate) name: String,
    pub(crate) rows: usize,
    pub(crate) cols: usize,
    /// Where the tensor holds several matrices of this shape, one below the other.
    pub(crate) stack: Stack,
}

/// Place of a matrix in its tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stack {
    pub(crate) index: usize,
    /// Matrices in the tensor.
    pub(crate) of: usize,
}

/// Tensors of a norm over `dim` channels. Without a bias it is RMSNorm, with one LayerNorm.
#[derive(Clone, Debug)]
pub(crate) struct NormLayout {
    pub(crate) weight: String,
    pub(crate) weight_shape: Vec<usize>,
    pub(crate) bias: Option<String>,
    pub(crate) dim: usize,
    pub(crate) eps: f32,
}

/// Tensors of one layer.
#[derive(Clone, Debug)]
pub(crate) struct LayerLayout {
    pub(crate) norm1: NormLayout,
    pub(crate) in_proj: MatrixLayout,
    pub(crate) out_proj: MatrixLayout,
    pub(crate) norm2: NormLayout,
    pub(crate) up: MatrixLayout,
    pub(crate) down: MatrixLayout,
    /// Names of the scales behind `out_proj` and `down`, `[dim]` each, in models that have them.
    pub(crate) scales: Option<[String; 2]>,
}

impl MatrixLayout {
    /// Returns the layout of a matrix that is a tensor of its own.
    pub(crate) fn new(name: String, rows: usize, cols: usize) -> Self {
        let stack = Stack { index: 0, of: 1 };
        Self {
            name,
            rows,
            cols,
            stack,
        }
    }

    /// Returns the same matrix as one of several in its tensor.
    pub(crate) fn stacked(self, stack: Stack) -> Self {
        Self { stack, ..self }
    }

    /// Returns how many values the matrix has.
    pub(crate) fn values(&self) -> u64 {
        (self.rows * self.cols) as u64
    }
}

impl Feed {
    /// Returns the tensors of the norm called `name`.
    pub(crate) fn norm(self, name: &str, dim: usize) -> NormLayout {
        match self {
            Self::SwiGlu => NormLayout {
                weight: format!("{name}.alpha"),
                weight_shape: vec![1, 1, dim],
                bias: None,
                dim,
                eps: 1e-8,
            },
            Self::Gelu => NormLayout {
                weight: format!("{name}.weight"),
                weight_shape: vec![dim],
                bias: Some(format!("{name}.bias")),
                dim,
                eps: 1e-5,
            },
        }
    }
}

impl Shape {
    /// Returns the width of a head.
    pub(crate) fn head_dim(&self) -> usize {
        self.dim / self.heads.max(1)
    }

    /// Returns the width of the layer before the activation.
    pub(crate) fn up_width(&self) -> usize {
        match self.feed {
            Feed::SwiGlu => 2 * self.hidden,
            Feed::Gelu => self.hidden,
        }
    }

    /// Returns the angle per position of each pair of a head's channels (RoFormer, arXiv:2104.09864).
    pub(crate) fn rope_frequencies(&self) -> Vec<f64> {
        let pairs = self.head_dim() / 2;
        if self.max_period == 0.0 {
            return vec![0.0; pairs];
        }
        let frequency = |i: usize| self.max_period.powf(-(i as f64) / pairs as f64);
        (0..pairs).map(frequency).collect()
    }

    /// Returns the tensors of layer `index` of the transformer called `prefix`.
    pub(crate) fn layer(&self, prefix: &str, index: usize) -> LayerLayout {
        let (d, h) = (self.dim, self.hidden);
        let name = |part: &str| format!("{prefix}.layers.{index}.{part}");
        let matrix = |part: &str, rows, cols| MatrixLayout::new(name(part), rows, cols);
        let (up, down) = match self.feed {
            Feed::SwiGlu => ("gating.linear_in.weight", "gating.linear_out.weight"),
            Feed::Gelu => ("linear1.weight", "linear2.weight"),
        };
        let scales = || ["layer_scale_1", "layer_scale_2"].map(|part| name(&format!("{part}.scale")));
        LayerLayout {
            norm1: self.feed.norm(&name("norm1"), d),
            in_proj: matrix("self_attn.in_proj_weight", 3 * d, d),
            out_proj: matrix("self_attn.out_proj.weight", d, d),
            norm2: self.feed.norm(&name("norm2"), d),
            up: matrix(up, self.up_width(), d),
            down: matrix(down, d, h),
            scales: self.layer_scale.then(scales),
        }
    }

    /// Returns the tensors of all layers of the transformer called `prefix`.
    pub(crate) fn all_layers(&self, prefix: &str) -> Vec<LayerLayout> {
        (0..self.layers).map(|index| self.layer(prefix, index)).collect()
    }

    /// Returns how many values the weights have.
    pub(crate) fn values(&self) -> u64 {
        let (d, h) = (self.dim as u64, self.hidden as u64);
        let norm = match self.feed {
            Feed::SwiGlu => d,
            Feed::Gelu => 2 * d,
        };
        let scale = if self.layer_scale { d } else { 0 };
        self.layers as u64 * (4 * d * d + (self.up_width() as u64 + h) * d + 2 * (norm + scale))
    }
}
