//! A coarser format beside the exact one. It is led along the exact stream, for one other choice would make all later
//! ones incomparable.

use super::Check;
use super::parity::far;
use crate::model::cuda::driver::Driver;
use crate::model::cuda::engine::Engine;
use crate::model::{ModelError, StepOutput, StreamModel};
use crate::stream::ids::RowId;

/// Row 0 of an engine, and how far it has been from another's.
pub(super) struct Led {
    engine: Engine<Driver>,
    out: StepOutput,
    frames: usize,
    others: usize,
    error: f32,
    gap: f32,
}

impl Led {
    pub(super) fn new(engine: Engine<Driver>) -> Self {
        Self {
            engine,
            out: StepOutput::default(),
            frames: 0,
            others: 0,
            error: 0.0,
            gap: 0.0,
        }
    }

    /// One frame, of which the exact engine made the text logits `sure` and `token`.
    pub(super) fn step(&mut self, frame: &[f32], sure: &[f32], token: u32) -> anyhow::Result<()> {
        self.engine.step(&[RowId(0)], frame, &mut self.out)?;
        let near = self.engine.logits(1).map_err(|e| ModelError(e.to_string()))?;
        self.error = self.error.max(far(&near[..sure.len()], sure));
        let scale = sure.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
        let mine = self.out.tokens[0];
        self.gap = self.gap.max((sure[token as usize] - sure[mine as usize]) / scale);
        self.others += usize::from(mine != token);
        self.frames += 1;
        let said = self.engine.say(RowId(0), token);
        said.map_err(|e| ModelError(e.to_string()))?;
        Ok(())
    }

    /// Logits must be within `bar` of the exact ones, relative to the largest; and 99.5 % of the tokens the same, but for
    /// choices between two that were nearer than twice that. Random weights leave many such ties.
    pub(super) fn check(&self, name: String, bar: f32) -> Check {
        let Self { error, gap, .. } = *self;
        let equal = 1.0 - self.others as f64 / self.frames as f64;
        Check {
            name,
            passed: error < bar && (equal >= 0.995 || gap <= 2.0 * bar),
            detail: format!(
                "logits within {error:.1e} of f32, {:.1} % of tokens equal, others within {gap:.1e}",
                equal * 100.0
            ),
        }
    }
}
