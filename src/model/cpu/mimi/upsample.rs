//! The transposed convolution from latents at 12.5 Hz to decoder steps at 25 Hz, each channel by itself.

use crate::model::error::LoadError;
use crate::model::layout::mimi::{STEPS, UpsampleLayout};
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// Weights, and the last latent of every row.
pub(super) struct Upsample {
    channels: usize,
    /// `[latent: this one, the one before][step][channel]`
    taps: [[Vec<f32>; STEPS]; 2],
    /// `[row][channel]`
    last: Vec<f32>,
}

impl Upsample {
    /// Loads the convolution with state for `rows` rows.
    ///
    /// # Errors
    /// The tensor is missing or wrong.
    pub(super) fn load(w: &Weights, layout: UpsampleLayout, rows: usize) -> Result<Self, LoadError> {
        let UpsampleLayout { name, channels, taps } = layout;
        let stored = w.conv(name, [channels, 1, taps])?;
        let tap = |at: usize| stored.iter().skip(at).step_by(taps).copied().collect();
        Ok(Self {
            channels,
            taps: [0, 1].map(|age| std::array::from_fn(|step| tap(age * STEPS + step))),
            last: vec![0.0; rows * channels],
        })
    }

    /// Computes the steps of one latent of each of `rows`: `latents` is `rows × channels`, `steps` gets
    /// `rows × 2 × channels`.
    pub(super) fn forward(&mut self, rows: &[RowId], latents: &[f32], steps: &mut [f32]) {
        let (d, [new, old]) = (self.channels, &self.taps);
        let slots = latents.chunks_exact(d).zip(steps.chunks_exact_mut(STEPS * d));
        for (row, (latent, steps)) in rows.iter().zip(slots) {
            let last = &mut self.last[row.index() * d..][..d];
            for (step, (new, old)) in steps.chunks_exact_mut(d).zip(new.iter().zip(old)) {
                for (c, y) in step.iter_mut().enumerate() {
                    *y = latent[c] * new[c] + last[c] * old[c];
                }
            }
            last.copy_from_slice(latent);
        }
    }

    /// Returns `row` to the start of a stream.
    pub(super) fn reset_row(&mut self, row: RowId) {
        let Self {
            channels,
            taps: _,
            last,
        } = self;
        last[row.index() * *channels..][..*channels].fill(0.0);
    }
}
