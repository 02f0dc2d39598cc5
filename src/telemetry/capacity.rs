//! How many streams this machine can hold, learnt from its own steps.
//!
//! A step of `n` rows takes about `a + b·n`. The line is fitted by least squares over recent steps (older ones fade), and the
//! estimate is the `n` at which a step would take `USABLE` of a frame.

use std::time::Duration;

use super::buckets::STEP_BUDGET;

/// Share of the frame a step may take at capacity; the rest absorbs jitter.
const USABLE: f64 = 0.8;
/// Weight an earlier step keeps with each new one: about the last thousand count.
const KEEP: f64 = 0.999;
/// Steps before there is an estimate.
const ENOUGH: u32 = 50;
/// Largest estimate: beyond it the line is extrapolated too far.
const STRETCH: f64 = 4.0;

/// The fit. Owned by the engine thread; a step costs a dozen multiplications.
#[derive(Clone, Debug, Default)]
pub struct Capacity {
    steps: u32,
    most_rows: f64,
    weight: f64,
    n: f64,
    nn: f64,
    t: f64,
    nt: f64,
}

impl Capacity {
    /// Takes one step into account.
    pub fn saw(&mut self, rows: usize, took: Duration) {
        let (n, t) = (rows as f64, took.as_secs_f64());
        self.steps = self.steps.saturating_add(1);
        self.most_rows = self.most_rows.max(n);
        self.weight = self.weight * KEEP + 1.0;
        self.n = self.n * KEEP + n;
        self.nn = self.nn * KEEP + n * n;
        self.t = self.t * KEEP + t;
        self.nt = self.nt * KEEP + n * t;
    }

    /// Streams that fit into real time, at most four times what was ever stepped at once; none before there is enough to
    /// go by.
    #[must_use]
    pub fn estimate(&self) -> Option<f64> {
        if self.steps < ENOUGH {
            return None;
        }
        let budget = STEP_BUDGET.as_secs_f64() * USABLE;
        let (mean_n, mean_t) = (self.n / self.weight, self.t / self.weight);
        let variance = self.nn / self.weight - mean_n * mean_n;
        let slope = (self.nt / self.weight - mean_n * mean_t) / variance;
        // Steps of one size give no slope; then all time is charged to the rows, which errs on the safe side.
        let fits = if variance > 0.01 && slope > 0.0 {
            (budget - (mean_t - slope * mean_n)) / slope
        } else {
            budget * mean_n / mean_t
        };
        // What falls short of a whole stream by a rounding error is whole.
        Some((fits.clamp(0.0, self.most_rows * STRETCH) + 1e-6).floor())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(sizes: impl Iterator<Item = usize>, cost: impl Fn(usize) -> f64) -> Capacity {
        let mut capacity = Capacity::default();
        for n in sizes {
            capacity.saw(n, Duration::from_secs_f64(cost(n)));
        }
        capacity
    }

    #[test]
    fn a_fixed_cost_and_a_cost_a_row_are_told_apart() {
        let capacity = steps((0..400).map(|i| 1 + i % 8), |n| 0.008 + 0.004 * n as f64);
        assert_eq!(capacity.estimate(), Some(14.0)); // (64 - 8) / 4
    }

    #[test]
    fn steps_of_one_size_scale_in_proportion() {
        let capacity = steps((0..100).map(|_| 2), |_| 0.032);
        assert_eq!(capacity.estimate(), Some(4.0));
    }

    #[test]
    fn the_estimate_stays_near_what_was_seen() {
        let capacity = steps((0..100).map(|i| 1 + i % 2), |_| 0.001);
        assert_eq!(capacity.estimate(), Some(8.0));
    }

    #[test]
    fn a_few_steps_are_not_enough() {
        assert_eq!(steps((0..10).map(|_| 1), |_| 0.01).estimate(), None);
    }
}
