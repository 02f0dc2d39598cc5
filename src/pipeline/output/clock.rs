//! The clock of one stream: from the model's time, which includes silence added by the engine, to the client's audio.

use arrayvec::ArrayVec;

use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};

/// Stretches of added silence that are kept apart; older ones are summed up. Words never refer further back than the last
/// few.
const STRETCHES: usize = 8;

/// Counts both times of a stream, in samples.
#[derive(Clone, Debug, Default)]
pub struct RowClock {
    model: u64,
    /// Added silence before the first kept stretch.
    folded: u64,
    /// `(start, length)` in the model's time.
    added: ArrayVec<(u64, u64), STRETCHES>,
}

impl RowClock {
    /// Advances by one step, of which the first `client_samples` samples were the client's.
    pub fn step(&mut self, client_samples: u64) {
        let end = self.model + FRAME_SAMPLES as u64;
        let (start, length) = (self.model + client_samples, FRAME_SAMPLES as u64 - client_samples);
        self.model = end;
        if length == 0 {
            return;
        }
        if let Some(last) = self.added.last_mut()
            && last.0 + last.1 == start
        {
            last.1 += length;
            return;
        }
        if self.added.is_full() {
            self.folded += self.added.remove(0).1;
        }
        self.added.push((start, length));
    }

    /// Converts `seconds` of the model's time to seconds of the client's audio.
    #[must_use]
    pub fn audio(&self, seconds: f64) -> f64 {
        let rate = f64::from(SAMPLE_RATE);
        let at = seconds * rate;
        let before = |&(start, length): &(u64, u64)| (at - start as f64).clamp(0.0, length as f64);
        let added = self.folded as f64 + self.added.iter().map(before).sum::<f64>();
        (at - added).max(0.0) / rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn added_silence_takes_no_time() {
        let mut clock = RowClock::default();
        clock.step(1920);
        clock.step(480);
        clock.step(0);
        clock.step(1920);
        let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-9, "{a} is not {b}");
        near(clock.audio(0.08), 0.08);
        near(clock.audio(0.1), 0.1);
        near(clock.audio(0.2), 0.1);
        near(clock.audio(0.24), 0.1);
        near(clock.audio(0.32), 0.18);
    }

    #[test]
    fn many_flushes_are_folded_and_not_forgotten() {
        let mut clock = RowClock::default();
        for _ in 0..100 {
            clock.step(1920);
            clock.step(0);
        }
        assert!((clock.audio(16.0) - 8.0).abs() < 1e-9);
    }
}
