//! Conditioners of a speaking checkpoint: properties of a whole stream as vectors, and their tensor names.

use serde::Deserialize;

use super::transformer::MatrixLayout;

/// The condition that tells of the strength of guidance, which such checkpoints have learnt (distilled guidance).
pub(crate) const GUIDANCE: &str = "cfg";
/// The condition that tells of the quality of the audio.
pub(crate) const CONTROL: &str = "control";
/// What [`CONTROL`] is told.
pub(crate) const CONTROL_VALUE: &str = "ok";

/// How a property of the whole stream is turned into a vector, as a checkpoint's `config.json` says it.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub enum SpeechConditioner {
    /// One of a few values.
    Lut { lut: LookUp },
    /// Vectors that come with the stream: a voice.
    Tensor { tensor: Vectors },
}

/// Sizes of a look-up.
#[derive(Clone, Debug, Deserialize)]
pub struct LookUp {
    pub n_bins: usize,
    pub dim: usize,
    #[serde(default)]
    pub possible_values: Vec<String>,
}

/// Sizes of vectors.
#[derive(Clone, Debug, Deserialize)]
pub struct Vectors {
    pub dim: usize,
}

/// Which conditions are added to the input of every step, and which are attended to.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Fuser {
    #[serde(default)]
    pub cross_attention_pos_emb: bool,
    pub cross_attention_pos_emb_scale: Option<f32>,
    #[serde(default)]
    pub sum: Vec<String>,
    #[serde(default)]
    pub cross: Vec<String>,
    #[serde(default)]
    pub prepend: Vec<String>,
}

/// Tensors of one conditioner.
#[derive(Clone, Debug)]
pub(crate) struct ConditionerLayout {
    /// Vectors of the values of a look-up.
    pub(crate) table: Option<MatrixLayout>,
    pub(crate) projection: MatrixLayout,
    /// Stands for a condition that is not given, `[1, 1, dim]`.
    pub(crate) padding: String,
}

impl SpeechConditioner {
    /// Returns the tensors of this conditioner, called `name`, of a model `dim` wide.
    pub(crate) fn layout(&self, name: &str, dim: usize) -> ConditionerLayout {
        let name = |part: &str| format!("condition_provider.conditioners.{name}.{part}");
        let (table, width) = match self {
            // One vector more than values: of no value.
            Self::Lut { lut } => {
                let table = MatrixLayout::new(name("embed.weight"), lut.n_bins + 1, lut.dim);
                (Some(table), lut.dim)
            }
            Self::Tensor { tensor } => (None, tensor.dim),
        };
        ConditionerLayout {
            table,
            projection: MatrixLayout::new(name("output_proj.weight"), dim, width),
            padding: name("learnt_padding"),
        }
    }
}
