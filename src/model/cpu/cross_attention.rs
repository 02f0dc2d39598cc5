//! Attention of a stream to its voice. Keys and values are computed once per voice and shared by the rows that speak in it.

use std::sync::Arc;

use super::formats::Formats;
use super::kernels::Hidden;
use super::kernels::gemm::Write;
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use super::kernels::strips::{StripLayout, Strips};
use super::key_values::KeyValues;
use super::linear::{SLACK, linear, matrix};
use super::norm::Norm;
use crate::model::error::LoadError;
use crate::model::layout::cross_attention::CrossAttentionLayout;
use crate::model::layout::dtype::{Real, WeightFormat};
use crate::model::layout::transformer::Shape;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// Multiply-adds of attention below which one thread is faster than several.
const PARALLEL_FROM: usize = 200_000;

/// Keys and values of one voice, per layer `[head][step][head_dim]`.
#[derive(Clone)]
pub(super) struct VoiceKeys(Vec<KeyValues>);

struct Layer {
    norm: Norm,
    query: Matrix,
    key: Matrix,
    value: Matrix,
    out: Matrix,
}

/// Weights of all layers, and the voice of each row.
pub(super) struct CrossAttention {
    layers: Vec<Layer>,
    heads: usize,
    /// Vectors that a voice is.
    steps: usize,
    format: Real,
    /// Voice of each row.
    voices: Vec<Arc<VoiceKeys>>,
    normed: Vec<f32>,
    queries: Vec<f32>,
    mixed: Vec<f32>,
    scores: Vec<f32>,
}

impl Layer {
    fn load(
        w: &Weights,
        layout: &CrossAttentionLayout,
        format: Option<WeightFormat>,
    ) -> Result<Self, LoadError> {
        let [query, key, value] = &layout.projections;
        Ok(Self {
            norm: Norm::load(w, &layout.norm)?,
            query: matrix(w, query, format)?,
            key: matrix(w, key, format)?,
            value: matrix(w, value, format)?,
            out: matrix(w, &layout.out_proj, format)?,
        })
    }
}

impl CrossAttention {
    /// Loads the layers `layouts` of a transformer of `shape`, for `rows` rows and voices of `steps` vectors. Rows have a
    /// voice of zeros until they are given one.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn load(
        w: &Weights,
        layouts: &[CrossAttentionLayout],
        shape: &Shape,
        steps: usize,
        rows: usize,
        formats: Formats,
    ) -> Result<Self, LoadError> {
        let layers = layouts
            .iter()
            .map(|layout| Layer::load(w, layout, formats.weights));
        let d = shape.dim;
        Ok(Self {
            layers: layers.collect::<Result<_, _>>()?,
            heads: shape.heads,
            steps,
            format: formats.cache,
            voices: std::iter::repeat_n(Arc::new(VoiceKeys(Vec::new())), rows).collect(),
            normed: vec![0.0; rows * d + SLACK],
            queries: vec![0.0; rows * d],
            mixed: vec![0.0; rows * d + SLACK],
            scores: vec![0.0; rows * shape.heads * steps.next_multiple_of(8)],
        })
    }

    /// Returns keys and values that are all zero.
    pub(super) fn zeros(&self) -> VoiceKeys {
        let width = self.layers.first().map_or(0, |layer| layer.key.rows);
        let layers = self.layers.iter();
        VoiceKeys(
            layers
                .map(|_| KeyValues::new(self.format, self.steps * width))
                .collect(),
        )
    }

    /// Computes keys and values of the first vectors of a voice, `n × dim` in `source`, readable [`SLACK`] further, into
    /// `keys`.
    pub(super) fn project(&self, pool: &mut Pool, source: &[f32], n: usize, keys: &mut VoiceKeys) {
        for (layer, kept) in self.layers.iter().zip(&mut keys.0) {
            let d = layer.key.rows;
            let mut projected = [vec![0.0; n * d], vec![0.0; n * d]];
            for (matrix, out) in [&layer.key, &layer.value].into_iter().zip(&mut projected) {
                linear(pool, matrix, n, source, d, out, Write::Set);
            }
            let [keys, values] = &projected;
            let hd = d / self.heads;
            for (step, (key, value)) in keys.chunks_exact(d).zip(values.chunks_exact(d)).enumerate() {
                let heads = key.chunks_exact(hd).zip(value.chunks_exact(hd));
                for (head, (key, value)) in heads.enumerate() {
                    kept.put((head * self.steps + step) * hd, key, value);
                }
            }
        }
    }

    /// Sets the voice of `row`.
    pub(super) fn set_voice(&mut self, row: RowId, voice: Arc<VoiceKeys>) {
        self.voices[row.index()] = voice;
    }

    /// Adds to each row's token of `x`, `rows × dim`, what layer `index` takes from the row's voice.
    pub(super) fn add(&mut self, pool: &mut Pool, index: usize, rows: &[RowId], x: &mut [f32]) {
        let Self {
            layers,
            heads,
            steps,
            format: _,
            voices,
            normed,
            queries,
            mixed,
            scores,
        } = self;
        let (layer, heads, steps) = (&layers[index], *heads, *steps);
        let (n, d) = (rows.len(), layer.query.cols);
        let hd = d / heads;
        layer.norm.apply(x, &mut normed[..n * d]);
        linear(pool, &layer.query, n, normed, d, queries, Write::Set);
        let scores = Strips::new(scores, StripLayout::chunks(steps.next_multiple_of(8)), n * heads);
        let out = Strips::new(mixed, StripLayout::chunks(hd), n * heads);
        let parallel = n * steps * d * 2 >= PARALLEL_FROM;
        pool.run_strips(n * heads, parallel, [scores, out], &|i, [mut scores, mut out]| {
            let (row, head) = (rows[i / heads], i % heads);
            let keys = &voices[row.index()].0[index];
            let seen = head * steps * hd..(head + 1) * steps * hd;
            let q = &queries[i * hd..][..hd];
            keys.attend(q, seen, Hidden::default(), scores.piece(0), out.piece(0));
        });
        linear(pool, &layer.out, n, mixed, d, x, Write::Add);
    }
}
