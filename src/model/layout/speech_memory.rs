//! The plan of a speaking model's bytes.

use super::dtype::{KvFormat, WeightFormat};
use super::memory::{FLOAT, LmWeights, MemoryPlan, cpu_transformer, rings};
use super::mimi::MimiConfig;
use super::speech::{SpeechLm, VOICE_PLACES};

/// How many voices a model holds keys and values of, beside those of its rows, and how long a voice is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct VoicePlan {
    /// Voices for rows to come, and the one of rows without a voice.
    pub(crate) voices: usize,
    /// Vectors of a voice.
    pub(crate) steps: usize,
}

impl MemoryPlan {
    /// Plans the language model, its depformer, its voices and the codec's decoder for `rows` rows on a CPU.
    pub(crate) fn cpu_speech(
        lm: &SpeechLm,
        mimi: &MimiConfig,
        weights: LmWeights,
        cache: KvFormat,
        voices: VoicePlan,
        rows: usize,
    ) -> Self {
        let weights = match weights {
            LmWeights::Held(bytes) => bytes,
            LmWeights::As(format) => format.bytes(lm.values()),
        };
        let (d, books) = (lm.dim, lm.dep_q);
        let (shape, depformer) = (lm.shape(), lm.depformer());
        let attended = if lm.voice().is_some() {
            VOICE_PLACES * voices.steps
        } else {
            0
        };
        let number = match cache {
            KvFormat::F32 => WeightFormat::F32.bytes(1),
            KvFormat::Bf16 | KvFormat::Fp8 => WeightFormat::Bf16.bytes(1),
        };
        let voice = 2 * (shape.layers * attended * d) as u64 * number;
        let kept = rings(&shape, cache.into()) + rings(&depformer.shape(), cache.into());
        // The codes of two frames more than one, as the published delays need them.
        let row = kept + FLOAT * (d + 3 * books);
        let cross = 3 * d + shape.heads * attended.next_multiple_of(8);
        let language = cpu_transformer(&shape) + cross + 3 * d + lm.text_head().rows;
        let frame = d + books * (2 + depformer.low_rank.unwrap_or(0)) + depformer.dim + lm.card;
        let slot = language + cpu_transformer(&depformer.shape()) + frame + mimi.frame_samples();
        let speech = Self {
            weights: weights + voices.voices as u64 * voice,
            row: row as u64 + voice,
            slot: (FLOAT * slot) as u64,
        };
        speech + Self::cpu_decoder(mimi, books, rows)
    }
}

#[cfg(test)]
mod tests {
    use crate::model::tests::speaker::config;
    use crate::model::weights::Weights;

    #[test]
    fn every_weight_that_is_loaded_is_counted() {
        let config = config();
        let w = Weights::open(&config.lm_file).unwrap();
        let lm = &config.lm;
        let conditions = lm.conditioners.iter().map(|(name, conditioner)| {
            let layout = conditioner.layout(name, lm.dim);
            layout.table.map_or(0, |table| table.values()) + layout.projection.values() + lm.dim as u64
        });
        // Files have a low-rank projection of the depformer's text, which has one per stream instead.
        let unused = (lm.depformer_dim * lm.depformer_low_rank_embeddings.unwrap_or(0)) as u64;
        // Each of the depformer's sets holds the norms, which the file has once.
        let depformer = lm.depformer();
        let norms = ((depformer.sets() - 1) * depformer.layers * 2 * depformer.dim) as u64;
        let held = lm.values() + conditions.sum::<u64>();
        assert_eq!(held + unused, w.elements() + norms);
    }
}
