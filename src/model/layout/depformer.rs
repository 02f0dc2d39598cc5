//! Shape and tensor names of the depformer: the small transformer that chooses the codes of one frame, codebook by codebook
//! (the Moshi paper, arXiv:2410.00037).
//!
//! It makes one step per codebook. A schedule says which set of weights a step has; late codebooks may share one.

use super::embedding::EmbeddingLayout;
use super::transformer::{Feed, LayerLayout, MatrixLayout, Shape, Stack};

/// Sizes of a depformer.
#[derive(Clone, Debug)]
pub(crate) struct DepformerConfig {
    pub(crate) dim: usize,
    pub(crate) heads: usize,
    pub(crate) layers: usize,
    /// Width of the gated hidden layer.
    pub(crate) hidden: usize,
    /// Set of weights of each codebook's step.
    pub(crate) schedule: Vec<usize>,
    /// Numbers per vector of its embeddings, where they are fewer than `dim`.
    pub(crate) low_rank: Option<usize>,
    /// The text has two streams.
    pub(crate) streams: bool,
    /// Text tokens that can be put in.
    pub(crate) text_vocabulary: usize,
    /// Codes that can come out; one more, the initial one, has an embedding.
    pub(crate) codes: usize,
    /// Width of the language model's hidden vectors.
    pub(crate) input: usize,
}

/// How a checkpoint names the tensors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// Kyutai's PyTorch files: sets of weights are stacked in one tensor, or numbered.
    PyTorch,
    /// Kyutai's Candle files: one part of the file per codebook.
    Candle,
}

/// Tensors of a depformer.
#[derive(Clone, Debug)]
pub(crate) struct DepformerLayout {
    /// Per set of weights: from the language model's hidden vector, and the layers.
    pub(crate) sets: Vec<(MatrixLayout, Vec<LayerLayout>)>,
    /// Per codebook: of what was chosen before, and the head.
    pub(crate) steps: Vec<(EmbeddingLayout, MatrixLayout)>,
}

impl Spelling {
    /// A tensor that only files in the Candle spelling have.
    pub(crate) const CANDLE_MARK: &str = "depformer.0.linear_in.weight";
}

impl DepformerConfig {
    /// Returns the codebooks, each of which has a step.
    pub(crate) fn codebooks(&self) -> usize {
        self.schedule.len()
    }

    /// Returns the sets of weights.
    pub(crate) fn sets(&self) -> usize {
        self.schedule.iter().max().map_or(0, |last| last + 1)
    }

    /// Returns the shape of its transformer.
    pub(crate) fn shape(&self) -> Shape {
        Shape {
            dim: self.dim,
            heads: self.heads,
            layers: self.layers,
            hidden: self.hidden,
            feed: Feed::SwiGlu,
            context: self.codebooks(),
            // The set of weights tells a step which one it is.
            max_period: 0.0,
            layer_scale: false,
            tokens: 1,
        }
    }

    /// Returns its tensors. A file in the Candle spelling has a set of weights per codebook, shared or not.
    pub(crate) fn layout(&self, spelling: Spelling) -> DepformerLayout {
        let (d, n) = (self.dim, self.sets());
        let input = |name: String| MatrixLayout::new(name, d, self.input);
        let head = |name: String| MatrixLayout::new(name, self.codes, d);
        let set = |set: usize| match spelling {
            Spelling::PyTorch => (input(format!("depformer_in.{set}.weight")), self.stacked(set, n)),
            Spelling::Candle => {
                let step = self.schedule.iter().position(|of| *of == set).unwrap_or(set);
                let layers = self.shape().all_layers(&format!("depformer.{step}.transformer"));
                (input(format!("depformer.{step}.linear_in.weight")), layers)
            }
        };
        let step = |step: usize| {
            let (name, out) = match (spelling, step) {
                (Spelling::PyTorch, 0) => ("depformer_text_emb".to_owned(), "linears.0.weight".to_owned()),
                (Spelling::PyTorch, _) => (
                    format!("depformer_emb.{}", step - 1),
                    format!("linears.{step}.weight"),
                ),
                (Spelling::Candle, _) => (
                    format!("depformer.{step}.emb"),
                    format!("depformer.{step}.linear_out.weight"),
                ),
            };
            let (entries, streams) = match step {
                0 => (self.text_vocabulary, self.streams),
                _ => (self.codes + 1, false),
            };
            (
                EmbeddingLayout::new(&name, entries, d, self.low_rank, streams),
                head(out),
            )
        };
        DepformerLayout {
            sets: (0..n).map(set).collect(),
            steps: (0..self.codebooks()).map(step).collect(),
        }
    }

    /// Returns how many values the weights have.
    pub(crate) fn values(&self) -> u64 {
        let layout = self.layout(Spelling::PyTorch);
        let inputs = layout.sets.iter().map(|(input, _)| input.values()).sum::<u64>();
        let steps = layout
            .steps
            .iter()
            .map(|(embedding, head)| embedding.values() + head.values());
        self.sets() as u64 * self.shape().values() + inputs + steps.sum::<u64>()
    }

    // Layers of one of `of` sets: attention is stacked, feed-forward layers are numbered, norms are everybody's.
    fn stacked(&self, index: usize, of: usize) -> Vec<LayerLayout> {
        let stack = Stack { index, of };
        let layers = self.shape().all_layers("depformer").into_iter();
        let numbered = |matrix: MatrixLayout| MatrixLayout {
            name: matrix.name.replace("gating.", &format!("gating.{index}.")),
            ..matrix
        };
        let layers = layers.map(|layer| LayerLayout {
            in_proj: layer.in_proj.stacked(stack),
            out_proj: layer.out_proj.stacked(stack),
            up: numbered(layer.up),
            down: numbered(layer.down),
            ..layer
        });
        layers.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sizes of Kyutai's `tts-1.6b-en_fr`.
    fn published() -> DepformerConfig {
        let shared = [8, 9, 10].into_iter().flat_map(|set| [set; 8]);
        DepformerConfig {
            dim: 1024,
            heads: 16,
            layers: 4,
            hidden: 2048,
            schedule: (0..8).chain(shared).collect(),
            low_rank: Some(128),
            streams: true,
            text_vocabulary: 8001,
            codes: 2048,
            input: 2048,
        }
    }

    #[test]
    fn the_published_sets_and_steps_have_the_files_names() {
        let layout = published().layout(Spelling::PyTorch);
        assert_eq!((layout.sets.len(), layout.steps.len()), (11, 32));
        let (input, layers) = &layout.sets[10];
        assert_eq!(input.name, "depformer_in.10.weight");
        assert_eq!(
            layers[3].in_proj.name,
            "depformer.layers.3.self_attn.in_proj_weight"
        );
        assert_eq!(layers[3].in_proj.stack, Stack { index: 10, of: 11 });
        assert_eq!(layers[3].up.name, "depformer.layers.3.gating.10.linear_in.weight");
        assert_eq!(layers[3].norm1.weight, "depformer.layers.3.norm1.alpha");
        let (embedding, head) = &layout.steps[31];
        assert_eq!(
            (&*embedding.table.name, &*head.name),
            ("depformer_emb.30.weight", "linears.31.weight")
        );
        assert_eq!(layout.steps[0].0.table.name, "depformer_text_emb.weight");
    }

    #[test]
    fn the_other_spelling_has_one_part_per_codebook() {
        let layout = published().layout(Spelling::Candle);
        let (input, layers) = &layout.sets[9];
        assert_eq!(input.name, Spelling::CANDLE_MARK.replace('0', "16"));
        assert_eq!(
            layers[0].down.name,
            "depformer.16.transformer.layers.0.gating.linear_out.weight"
        );
        assert_eq!(layout.steps[0].0.table.name, "depformer.0.emb.weight");
    }
}
