//! Delay conditioning: a constant vector added to the language model's input, where a checkpoint was trained with it.

use super::error::LoadError;
use super::layout::lm::{Conditioner, LmConfig};
use super::stt::config::Conditioning;
use super::weights::Weights;

/// The conditioner of Kyutai's speech-to-text training.
const DELAY: &str = "delay";

/// Computes the vector, `[d_model]`. None where the checkpoint has no conditioner or nothing was asked for.
///
/// # Errors
/// A tensor is missing, or the conditioner takes no delay.
pub(crate) fn load(w: &Weights, lm: &LmConfig, asked: Conditioning) -> Result<Option<Vec<f32>>, LoadError> {
    let d = lm.transformer.d_model;
    let Some(conditioner) = lm.conditioners.get(DELAY) else {
        return Ok(None);
    };
    let prefix = format!("condition_provider.conditioners.{DELAY}");
    match (asked.delay_s, conditioner) {
        (
            Some(delay),
            Conditioner::ContinuousAttribute {
                dim,
                scale_factor,
                max_period,
            },
        ) => {
            let features = sinusoid(-delay * scale_factor, *dim, *max_period);
            let projection = w.values(&format!("{prefix}.output_proj.weight"), &[d, *dim])?;
            let dot = |row: &[f32]| row.iter().zip(&features).map(|(w, x)| w * x).sum();
            Ok(Some(projection.chunks_exact(*dim).map(dot).collect()))
        }
        (Some(_), Conditioner::Lut { .. }) => Err(LoadError::Config(
            "conditioning_delay needs a ContinuousAttribute conditioner named `delay`, this one is a Lut"
                .to_owned(),
        )),
        (None, _) if asked.learnt_padding => w
            .values(&format!("{prefix}.learnt_padding"), &[1, 1, d])
            .map(Some),
        (None, _) => Ok(None),
    }
}

// Cosines, then sines, of `position` at `dim / 2` rates from 1 down to 1 / max_period.
fn sinusoid(position: f32, dim: usize, max_period: f32) -> Vec<f32> {
    let half = dim / 2;
    let angle = |i: usize| position / max_period.powf(i as f32 / (half as f32 - 1.0));
    (0..half)
        .map(|i| angle(i).cos())
        .chain((0..half).map(|i| angle(i).sin()))
        .collect()
}
