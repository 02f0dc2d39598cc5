//! Times of something that happens very often: counts in buckets that grow by two per cent, so memory does not grow with the
//! length of a test and a quantile is right to one per cent.

/// Lower bound of the first bucket, in seconds.
const FIRST: f64 = 1e-5;
/// Each bucket ends this much above where it begins.
const GROWTH: f64 = 1.02;
/// Buckets: the last ends beyond an hour and a half.
const BUCKETS: usize = 1024;

/// A distribution of seconds.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Box<[u64]>,
    count: u64,
    max: f64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            counts: vec![0; BUCKETS].into(),
            count: 0,
            max: 0.0,
        }
    }
}

/// What is told of a distribution, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Quantiles {
    pub count: u64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub max: f64,
}

impl Histogram {
    /// Adds `seconds`; what is negative counts as nothing waited.
    pub fn add(&mut self, seconds: f64) {
        let steps = (seconds.max(FIRST) / FIRST).ln() / GROWTH.ln();
        self.counts[(steps as usize).min(BUCKETS - 1)] += 1;
        self.count += 1;
        self.max = self.max.max(seconds);
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Seconds that a share `q` of all is not above; 0 when there are none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> f64 {
        let rank = ((self.count as f64 * q).ceil() as u64).max(1);
        let mut below = 0;
        for (i, count) in self.counts.iter().enumerate() {
            below += count;
            if below >= rank {
                return (FIRST * GROWTH.powf(i as f64 + 0.5)).min(self.max);
            }
        }
        0.0
    }

    /// The usual quantiles.
    #[must_use]
    pub fn quantiles(&self) -> Quantiles {
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| self.quantile(q));
        Quantiles {
            count: self.count,
            p50,
            p95,
            p99,
            max: self.max,
        }
    }

    /// `(seconds, share not above)` for each bucket that holds something.
    #[must_use]
    pub fn shares(&self) -> Vec<(f64, f64)> {
        let mut below = 0;
        let mut out = Vec::new();
        for (i, count) in self.counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            below += count;
            out.push((
                FIRST * GROWTH.powf(i as f64 + 1.0),
                below as f64 / self.count as f64,
            ));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_one_per_cent() {
        let mut histogram = Histogram::default();
        for i in 1..=10_000 {
            histogram.add(f64::from(i) / 1000.0);
        }
        for q in [0.01, 0.5, 0.95, 0.99] {
            let (got, exact) = (histogram.quantile(q), q * 10.0);
            assert!((got / exact - 1.0).abs() < 0.011, "{q}: {got} is not {exact}");
        }
        let all = histogram.quantiles();
        assert_eq!((all.count, all.max), (10_000, 10.0));
    }

    #[test]
    fn nothing_and_the_extremes_are_no_trouble() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.quantiles(), Quantiles::default());
        histogram.add(-1.0);
        histogram.add(1e9);
        assert_eq!((histogram.count(), histogram.quantiles().max), (2, 1e9));
        assert_eq!(histogram.shares().last().map(|(_, share)| *share), Some(1.0));
    }
}
