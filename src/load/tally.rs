//! What the streams saw, added up.

use std::collections::BTreeMap;
use std::time::Duration;

use super::histogram::{Histogram, Quantiles};
use super::memory::Samples;
use super::wer::WordErrors;
use crate::client::ClientError;

/// Slices a test is cut into for the plots over time.
const SLICES: usize = 60;

/// A distribution, as a whole and over the time of the test.
#[derive(Clone, Debug)]
pub struct Series {
    pub all: Histogram,
    pub slices: Vec<Histogram>,
}

impl Default for Series {
    fn default() -> Self {
        Self {
            all: Histogram::default(),
            slices: vec![Histogram::default(); SLICES],
        }
    }
}

/// How sessions ended.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Sessions {
    pub started: u64,
    /// To their very end.
    pub finished: u64,
    /// For want of room.
    pub refused: u64,
    /// For their credential.
    pub denied: u64,
    /// For anything else, by what was said.
    pub failed: BTreeMap<String, u64>,
}

/// A kind of latency.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Latency {
    /// From the moment a frame's last sample was due to be sent to its `Step`.
    Lag,
    /// From the request to `Ready`.
    Ready,
    /// From the first audio to the first word.
    FirstWord,
    /// From the moment a word began to be sent to the word.
    Word,
    /// From the last audio to the end of the stream.
    Flush,
    /// How late this program sent: its own fault, or the server's for not reading.
    Late,
}

impl Latency {
    /// Each, with its name and what it is.
    pub const ALL: [(Self, &'static str, &'static str); 6] = [
        (Self::Lag, "lag", "audio due to Step"),
        (Self::FirstWord, "first word", "first audio to first word"),
        (Self::Word, "word", "word begins to word"),
        (Self::Flush, "flush", "last audio to end of stream"),
        (Self::Ready, "ready", "request to Ready"),
        (Self::Late, "sent late", "audio due to audio sent"),
    ];
}

/// Everything counted in one test.
#[derive(Clone, Debug)]
pub struct Tally {
    length: Duration,
    latencies: [Series; 6],
    pub sessions: Sessions,
    /// Sent, in seconds of sound.
    pub audio: f64,
    pub steps: u64,
    pub words: u64,
    pub errors: WordErrors,
    /// Of the server, if it is known which process that is.
    pub memory: Samples,
    /// How rude clients fared: kind and end, and how often.
    pub rude: BTreeMap<String, u64>,
}

impl Tally {
    /// An empty one, for a test of about this length.
    #[must_use]
    pub fn new(length: Duration) -> Self {
        Self {
            length,
            latencies: Default::default(),
            sessions: Sessions::default(),
            audio: 0.0,
            steps: 0,
            words: 0,
            errors: WordErrors::default(),
            memory: Samples::default(),
            rude: BTreeMap::new(),
        }
    }

    /// Adds a latency seen at `at` of the test.
    pub fn add(&mut self, what: Latency, seconds: f64, at: Duration) {
        let series = &mut self.latencies[what as usize];
        series.all.add(seconds);
        let slice = at.as_secs_f64() / self.length.as_secs_f64().max(1e-9) * SLICES as f64;
        series.slices[(slice as usize).min(SLICES - 1)].add(seconds);
    }

    /// Adds how a session ended that was not served to its end.
    pub fn ended(&mut self, error: &ClientError) {
        match error {
            ClientError::Full => self.sessions.refused += 1,
            // What Kyutai's server says when all slots are used.
            ClientError::Server(text) if text == "no free channels" => self.sessions.refused += 1,
            ClientError::Unauthorized(_) | ClientError::Status { status: 429, .. } => {
                self.sessions.denied += 1
            }
            other => *self.sessions.failed.entry(other.to_string()).or_default() += 1,
        }
    }

    #[must_use]
    pub fn series(&self, what: Latency) -> &Series {
        &self.latencies[what as usize]
    }

    #[must_use]
    pub fn quantiles(&self, what: Latency) -> Quantiles {
        self.series(what).all.quantiles()
    }

    /// `(seconds into the test, quantile)` for each slice that holds something.
    #[must_use]
    pub fn over_time(&self, what: Latency, q: f64) -> Vec<(f64, f64)> {
        let step = self.length.as_secs_f64() / SLICES as f64;
        let slices = self.series(what).slices.iter().enumerate();
        slices
            .filter(|(_, slice)| slice.count() > 0)
            .map(|(i, slice)| ((i as f64 + 0.5) * step, slice.quantile(q)))
            .collect()
    }

    /// Sessions that failed for no reason of their client.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.sessions.failed.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_land_in_their_slice_and_in_the_whole() {
        let mut tally = Tally::new(Duration::from_secs(60));
        tally.add(Latency::Lag, 0.1, Duration::from_secs(2));
        tally.add(Latency::Lag, 0.2, Duration::from_secs(300));
        assert_eq!(tally.quantiles(Latency::Lag).count, 2);
        let times: Vec<f64> = tally
            .over_time(Latency::Lag, 0.5)
            .iter()
            .map(|(t, _)| *t)
            .collect();
        assert_eq!(times, [2.5, 59.5]);
        assert_eq!(tally.quantiles(Latency::Word).count, 0);
    }

    #[test]
    fn refusals_are_told_from_failures() {
        let mut tally = Tally::new(Duration::from_secs(1));
        tally.ended(&ClientError::Full);
        tally.ended(&ClientError::Server("no free channels".to_owned()));
        tally.ended(&ClientError::Unauthorized(401));
        tally.ended(&ClientError::Lost);
        let sessions = &tally.sessions;
        assert_eq!((sessions.refused, sessions.denied, tally.failures()), (2, 1, 1));
    }
}
