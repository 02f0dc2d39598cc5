//! Voices as the cross attention sees them: projected, at their places, with their keys and values held once per voice.

use std::collections::VecDeque;
use std::sync::Arc;

use super::cross_attention::{CrossAttention, VoiceKeys};
use super::kernels::gemm::Write;
use super::kernels::matrix::Matrix;
use super::kernels::pool::Pool;
use super::linear::{SLACK, linear, matrix};
use crate::model::ModelError;
use crate::model::error::LoadError;
use crate::model::layout::conditioners::ConditionerLayout;
use crate::model::layout::speech::VOICE_PLACES;
use crate::model::weights::Weights;
use crate::stream::voice::Voice;

/// Longest period of the positions that are added to a voice.
const MAX_PERIOD: f32 = 10_000.0;

/// What voices are made of, and those that were used last.
pub(super) struct Voices {
    projection: Matrix,
    /// Stands where there is no voice.
    padding: Vec<f32>,
    /// Scale of the positions; 0 where the checkpoint has none.
    positions: f32,
    /// Vectors per voice.
    steps: usize,
    /// All places empty.
    nobody: Arc<VoiceKeys>,
    /// The newest last.
    known: VecDeque<(Arc<Voice>, Arc<VoiceKeys>)>,
    /// Most voices that are kept for rows to come.
    kept: usize,
}

impl Voices {
    /// Loads the conditioner of voices of `steps` vectors, and computes the keys of a row without a voice.
    ///
    /// # Errors
    /// A tensor is missing or wrong.
    pub(super) fn load(
        w: &Weights,
        layout: &ConditionerLayout,
        positions: f32,
        steps: usize,
        kept: usize,
        pool: &mut Pool,
        cross: &CrossAttention,
    ) -> Result<Self, LoadError> {
        let mut voices = Self {
            projection: matrix(w, &layout.projection, None)?,
            padding: w.values(&layout.padding, &[1, 1, layout.projection.rows])?,
            positions,
            steps,
            nobody: Arc::new(cross.zeros()),
            known: VecDeque::with_capacity(kept),
            kept,
        };
        let mut keys = cross.zeros();
        let n = VOICE_PLACES * steps;
        let mut source = voices.source(n);
        voices.place(&mut source, n);
        cross.project(pool, &source, n, &mut keys);
        voices.nobody = Arc::new(keys);
        Ok(voices)
    }

    /// Returns the keys of a row without a voice.
    pub(super) fn nobody(&self) -> Arc<VoiceKeys> {
        Arc::clone(&self.nobody)
    }

    /// Returns the keys of `voice`, computed now if it is not among the voices used last.
    ///
    /// # Errors
    /// The voice has another shape than the checkpoint takes.
    pub(super) fn keys(
        &mut self,
        pool: &mut Pool,
        cross: &CrossAttention,
        voice: &Arc<Voice>,
    ) -> Result<Arc<VoiceKeys>, ModelError> {
        let (steps, width) = (self.steps, self.projection.cols);
        if (voice.steps, voice.width) != (steps, width) || voice.embedding.len() != steps * width {
            return Err(ModelError(format!(
                "the voice is {} vectors of {} numbers, this model takes {steps} of {width}",
                voice.steps, voice.width
            )));
        }
        let same = |known: &Arc<Voice>| Arc::ptr_eq(known, voice) || known == voice;
        let found = self.known.iter().position(|(known, _)| same(known));
        let entry = match found.and_then(|at| self.known.remove(at)) {
            Some(entry) => entry,
            None => (Arc::clone(voice), Arc::new(self.compute(pool, cross, voice))),
        };
        let keys = Arc::clone(&entry.1);
        while self.known.len() >= self.kept.max(1) {
            self.known.pop_front();
        }
        self.known.push_back(entry);
        Ok(keys)
    }

    fn compute(&self, pool: &mut Pool, cross: &CrossAttention, voice: &Voice) -> VoiceKeys {
        // As Kyutai's server does it: a voice that it has a name for is there twice.
        let places = if voice.name.is_some() { 2 } else { 1 };
        let (d, n) = (self.projection.rows, places * self.steps);
        let mut embedding = voice.embedding.to_vec();
        embedding.resize(embedding.len() + SLACK, 0.0);
        let mut source = self.source(n);
        let (steps, width) = (self.steps, self.projection.cols);
        linear(
            pool,
            &self.projection,
            steps,
            &embedding,
            width,
            &mut source,
            Write::Set,
        );
        source.copy_within(..(places - 1) * steps * d, steps * d);
        self.locate(&mut source, n);
        // The places that stay empty are the same for all voices.
        let mut keys = (*self.nobody).clone();
        cross.project(pool, &source, n, &mut keys);
        keys
    }

    fn source(&self, n: usize) -> Vec<f32> {
        vec![0.0; n * self.projection.rows + SLACK]
    }

    fn place(&self, source: &mut [f32], n: usize) {
        let vectors = source.chunks_exact_mut(self.padding.len()).take(n);
        vectors.for_each(|vector| vector.copy_from_slice(&self.padding));
        self.locate(source, n);
    }

    // Adds positions: cosines, then sines, at rates from 1 down to 1 / MAX_PERIOD.
    fn locate(&self, source: &mut [f32], n: usize) {
        let d = self.padding.len();
        let half = d / 2;
        let rate = |i: usize| MAX_PERIOD.powf(i as f32 / (half as f32 - 1.0));
        for (step, vector) in source.chunks_exact_mut(d).take(n).enumerate() {
            let (cosines, sines) = vector.split_at_mut(half);
            for (i, (cosine, sine)) in cosines.iter_mut().zip(sines).enumerate() {
                let (sin, cos) = (step as f32 / rate(i)).sin_cos();
                *cosine += self.positions * cos;
                *sine += self.positions * sin;
            }
        }
    }
}
