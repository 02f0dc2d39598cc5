//! The memory of the server under test, when it runs on this machine.

use std::time::Duration;

use anyhow::Context as _;
use serde::Serialize;

/// Resident memory in kB over a test.
#[derive(Clone, Debug, Default)]
pub struct Samples(Vec<(f64, u64)>);

/// What the samples say. Memory is resident, in kB.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Memory {
    /// Before the first stream.
    pub before: u64,
    pub most: u64,
    /// What it grew by at most, a stream.
    pub per_stream: f64,
    /// Growth in kB a minute over the second half of the test, by least squares: a leak goes on, a warm-up does not.
    /// None for a test too short to tell.
    pub slope: Option<f64>,
}

/// Resident memory of the process `pid`, in kB.
///
/// # Errors
/// There is no such process on this machine, or no `/proc`.
pub fn resident(pid: u32) -> anyhow::Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = std::fs::read_to_string(&path).with_context(|| format!("--pid {pid}: {path}"))?;
    parse(&text).with_context(|| format!("--pid {pid}: {path} states no VmRSS"))
}

fn parse(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// Time between two samples of a test: a second, and no more than a few thousand samples in all.
#[must_use]
pub fn pause(test: Duration) -> Duration {
    (test / 2000).max(Duration::from_secs(1))
}

impl Samples {
    /// Adds a sample at `seconds` of the test.
    pub fn add(&mut self, seconds: f64, kilobytes: u64) {
        self.0.push((seconds, kilobytes));
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What they say about `streams` streams; none without samples.
    #[must_use]
    pub fn summary(&self, streams: usize) -> Option<Memory> {
        let (_, before) = *self.0.first()?;
        let most = self.0.iter().map(|(_, kb)| *kb).max()?;
        Some(Memory {
            before,
            most,
            per_stream: (most - before) as f64 / streams.max(1) as f64,
            slope: slope(&self.0[self.0.len() / 2..]).map(|slope| slope * 60.0),
        })
    }
}

/// Least-squares slope in kB a second; none for fewer than five points.
fn slope(points: &[(f64, u64)]) -> Option<f64> {
    if points.len() < 5 {
        return None;
    }
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&(f64, u64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1 as f64));
    let spread: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    let both: f64 = points.iter().map(|p| (p.0 - x) * (p.1 as f64 - y)).sum();
    (spread > 0.0).then(|| both / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_is_by_stream_and_the_slope_is_of_the_second_half() {
        let mut samples = Samples::default();
        assert_eq!(samples.summary(1), None);
        // A warm-up of 400 kB, then 1 kB every 10 seconds.
        for i in 0..10u64 {
            samples.add(i as f64 * 10.0, 1000 + if i < 5 { i * 80 } else { 395 + i });
        }
        let memory = samples.summary(4).unwrap();
        assert_eq!((memory.before, memory.most), (1000, 1404));
        assert_eq!(memory.per_stream, 101.0);
        let slope = memory.slope.unwrap();
        assert!((slope - 6.0).abs() < 1e-9, "{slope}");
    }

    #[test]
    fn the_kernels_table_is_read() {
        assert_eq!(
            parse("Name:\tx\nVmHWM:\t  9 kB\nVmRSS:\t    1234 kB\n"),
            Some(1234)
        );
        assert_eq!(parse("Name:\tx\n"), None);
        assert!(
            resident(u32::MAX)
                .unwrap_err()
                .to_string()
                .contains("--pid 4294967295")
        );
    }
}
