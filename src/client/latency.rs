//! Times of something that happened often: how long it usually takes, and how long at worst.

use std::fmt;
use std::time::Duration;

/// A set of durations. Shows itself as its median, 95th percentile and maximum.
#[derive(Clone, Debug, Default)]
pub struct Latency {
    times: Vec<Duration>,
}

impl Latency {
    pub fn add(&mut self, time: Duration) {
        self.times.push(time);
    }

    /// The time that a share `q` (0 to 1) of all is not above; none when there is none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let mut sorted = self.times.clone();
        sorted.sort_unstable();
        let last = sorted.len().checked_sub(1)?;
        sorted
            .get((q.clamp(0.0, 1.0) * last as f64).round() as usize)
            .copied()
    }
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.quantile(0.5), self.quantile(0.95), self.quantile(1.0)) {
            (Some(median), Some(p95), Some(max)) => {
                let ms = |time: Duration| time.as_millis();
                write!(
                    f,
                    "median {} ms, 95 % within {} ms, longest {} ms",
                    ms(median),
                    ms(p95),
                    ms(max)
                )
            }
            _ => f.write_str("none"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_sorted_times() {
        let mut latency = Latency::default();
        assert_eq!(
            (latency.quantile(0.5), latency.to_string().as_str()),
            (None, "none")
        );
        for ms in [50, 10, 30, 20, 40] {
            latency.add(Duration::from_millis(ms));
        }
        assert_eq!(latency.quantile(0.5), Some(Duration::from_millis(30)));
        assert_eq!(latency.quantile(1.0), Some(Duration::from_millis(50)));
        assert_eq!(
            latency.to_string(),
            "median 30 ms, 95 % within 50 ms, longest 50 ms"
        );
    }
}
