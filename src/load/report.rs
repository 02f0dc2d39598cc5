//! What a test found, for people and for programs.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use super::histogram::Quantiles;
use super::memory::Memory;
use super::search::Search;
use super::tally::{Latency, Sessions, Tally};
use super::wer::WordErrors;
use super::{Plan, Slo};

/// A report. Times are seconds.
#[derive(Serialize)]
pub struct Report {
    pub version: &'static str,
    /// RFC 3339.
    pub at: String,
    pub target: String,
    pub streams: usize,
    pub duration: f64,
    pub chunks_ms: Vec<f64>,
    pub sessions: Sessions,
    /// Sent, in seconds of sound.
    pub audio: f64,
    pub steps: u64,
    pub words: u64,
    pub latency: BTreeMap<&'static str, Quantiles>,
    pub word_errors: WordErrors,
    pub rude: BTreeMap<String, u64>,
    /// Of the server, where --pid names it.
    pub memory: Option<Memory>,
    pub slo: Slo,
    /// Empty when the objective held.
    pub broken_by: Vec<String>,
    pub search: Option<Search>,
}

impl Report {
    #[must_use]
    pub fn new(plan: &Plan, streams: usize, tally: &Tally, slo: Slo, search: Option<Search>) -> Self {
        let now = time::OffsetDateTime::now_utc();
        Self {
            version: env!("CARGO_PKG_VERSION"),
            at: now
                .format(&time::format_description::well_known::Rfc3339)
                .unwrap_or_default(),
            // The query may hold a credential.
            target: plan
                .routes
                .first()
                .map_or("", |route| {
                    route.endpoint.url.split('?').next().unwrap_or_default()
                })
                .to_owned(),
            streams,
            duration: plan.duration.as_secs_f64(),
            chunks_ms: plan.chunks_ms.clone(),
            sessions: tally.sessions.clone(),
            audio: tally.audio,
            steps: tally.steps,
            words: tally.words,
            latency: Latency::ALL
                .iter()
                .map(|(what, name, _)| (*name, tally.quantiles(*what)))
                .collect(),
            word_errors: tally.errors,
            rude: tally.rude.clone(),
            memory: tally.memory.summary(streams),
            slo,
            broken_by: slo.broken_by(tally),
            search,
        }
    }
}

impl fmt::Display for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            before,
            most,
            per_stream,
            slope,
        } = self;
        write!(
            f,
            "memory     {before} kB before, {most} kB at most: {per_stream:.0} kB a stream"
        )?;
        match slope {
            Some(slope) => write!(f, "; {slope:+.1} kB a minute over the second half"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Search {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for probe in &self.probes {
            let verdict = if probe.broken_by.is_empty() {
                "holds".to_owned()
            } else {
                probe.broken_by.join("; ")
            };
            writeln!(
                f,
                "{:>5} streams: lag p99 {:.4} s: {verdict}",
                probe.streams, probe.lag_p99
            )?;
        }
        let bound = if self.broke {
            ""
        } else {
            ", the bound of the search: raise --most"
        };
        writeln!(
            f,
            "\nmost streams that hold the objective: {}{bound}",
            self.streams
        )
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sessions {
            started,
            finished,
            refused,
            denied,
            failed,
        } = &self.sessions;
        writeln!(
            f,
            "{} streams, {:.0} s against {}",
            self.streams, self.duration, self.target
        )?;
        let failures: u64 = failed.values().sum();
        writeln!(
            f,
            "sessions   {started} started, {finished} finished, {refused} refused, {denied} denied, {failures} failed"
        )?;
        for (why, count) in failed {
            writeln!(f, "           {count} x {why}")?;
        }
        writeln!(
            f,
            "audio      {:.1} s sent, {} frames heard, {} words",
            self.audio, self.steps, self.words
        )?;
        writeln!(
            f,
            "\n{:<12}{:>9}{:>11}{:>11}{:>11}{:>11}",
            "seconds", "count", "p50", "p95", "p99", "max"
        )?;
        for (_, name, _) in Latency::ALL {
            let Quantiles {
                count,
                p50,
                p95,
                p99,
                max,
            } = self.latency[name];
            if count == 0 {
                writeln!(f, "{name:<12}{:>9}", "none")?;
            } else {
                writeln!(
                    f,
                    "{name:<12}{count:>9}{p50:>11.4}{p95:>11.4}{p99:>11.4}{max:>11.4}"
                )?;
            }
        }
        if let Some(rate) = self.word_errors.rate() {
            let WordErrors { errors, words } = self.word_errors;
            writeln!(f, "\nword errors {errors} of {words} ({:.1} %)", rate * 100.0)?;
        }
        for (what, count) in &self.rude {
            writeln!(f, "rude        {count} x {what}")?;
        }
        if let Some(memory) = &self.memory {
            writeln!(f, "\n{memory}")?;
        }
        if let Some(search) = &self.search {
            return write!(f, "\n{search}");
        }
        match self.broken_by.as_slice() {
            [] => writeln!(f, "\nthe objective holds"),
            why => writeln!(f, "\nthe objective is broken: {}", why.join("; ")),
        }
    }
}
