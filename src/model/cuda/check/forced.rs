//! Teacher-forced comparison of a low-precision engine with the exact one: it is given the exact engine's tokens, for one
//! other choice would make all later ones incomparable.

use super::Check;
use super::distance::far;
use crate::model::cuda::driver::Driver;
use crate::model::cuda::stt::CudaStt;
use crate::model::{ModelError, StepIo, StepOutput, StreamModel};
use crate::stream::ids::RowId;

/// Row 0 of an engine, and how far it has been from the exact one.
pub(super) struct Forced {
    engine: CudaStt<Driver>,
    out: StepOutput,
    frames: usize,
    /// Frames with another token.
    mismatches: usize,
    /// Largest error of a logit, as a share of the largest logit.
    error: f32,
    /// Largest margin by which the exact engine preferred its token to this one's, as a share of the largest logit.
    margin: f32,
}

impl Forced {
    /// Compares `engine`, whose row 0 is fresh.
    pub(super) fn new(engine: CudaStt<Driver>) -> Self {
        Self {
            engine,
            out: StepOutput::default(),
            frames: 0,
            mismatches: 0,
            error: 0.0,
            margin: 0.0,
        }
    }

    /// Steps one frame, of which the exact engine made `reference_logits` and chose `token`.
    ///
    /// # Errors
    /// The device failed.
    pub(super) fn step(&mut self, frame: &[f32], reference_logits: &[f32], token: u32) -> anyhow::Result<()> {
        let reference = reference_logits;
        self.engine.step(&mut StepIo {
            rows: &[RowId(0)],
            audio: frame,
            out: &mut self.out,
        })?;
        let logits = self.engine.logits(1).map_err(|e| ModelError(e.to_string()))?;
        self.error = self.error.max(far(&logits[..reference.len()], reference));
        let scale = reference.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
        let mine = self.out.tokens[0];
        let margin = (reference[token as usize] - reference[mine as usize]) / scale;
        self.margin = self.margin.max(margin);
        self.mismatches += usize::from(mine != token);
        self.frames += 1;
        let forced = self.engine.force_token(RowId(0), token);
        forced.map_err(|e| ModelError(e.to_string()))?;
        Ok(())
    }

    /// Judges what was seen. Logits must be within `bar` of the exact ones, and 99.5 % of the tokens the same, but for
    /// choices between two that were nearer than twice that: random weights leave many such ties.
    pub(super) fn check(&self, name: String, bar: f32) -> Check {
        let Self { error, margin, .. } = *self;
        let equal = 1.0 - self.mismatches as f64 / self.frames as f64;
        Check {
            name,
            passed: error < bar && (equal >= 0.995 || margin <= 2.0 * bar),
            detail: format!(
                "logits within {error:.1e} of f32, {:.1} % of tokens equal, others within {margin:.1e}",
                equal * 100.0
            ),
        }
    }
}
