//! The most streams that hold an objective: twice as many until it breaks, then halving the gap.

use std::time::Duration;

use super::{Latency, Plan, Slo, Tally};

/// One test of a search.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Probe {
    pub streams: usize,
    pub lag_p99: f64,
    pub word_p95: f64,
    /// Why the objective broke; empty when it held.
    pub broken_by: Vec<String>,
}

/// What a search found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Search {
    /// The most streams that held; 0 when not even one did.
    pub streams: usize,
    /// False when the search ended at its upper bound without breaking the objective.
    pub broke: bool,
    pub probes: Vec<Probe>,
}

/// The next number to try, knowing the most that held and the fewest that broke; none when they are next to each other.
fn next(held: usize, broke: Option<usize>, most: usize) -> Option<usize> {
    match broke {
        Some(broke) => (broke - held > 1).then(|| held + (broke - held) / 2),
        None => (held < most).then(|| (held * 2).clamp(1, most)),
    }
}

/// Searches up to `most` streams. `progress` is told the number under test. Also gives the figures of the best test, or of the
/// first if none held.
pub async fn search(
    plan: &Plan,
    slo: Slo,
    most: usize,
    mut progress: impl FnMut(usize, Duration, &Tally),
) -> (Search, Option<Tally>) {
    let (mut held, mut broke) = (0, None);
    let (mut probes, mut best) = (Vec::new(), None);
    while let Some(streams) = next(held, broke, most) {
        let tally = super::run(plan, streams, |at, tally| progress(streams, at, tally)).await;
        let broken_by = slo.broken_by(&tally);
        let holds = broken_by.is_empty();
        probes.push(Probe {
            streams,
            lag_p99: tally.quantiles(Latency::Lag).p99,
            word_p95: tally.quantiles(Latency::Word).p95,
            broken_by,
        });
        if holds {
            held = streams;
        } else {
            broke = Some(streams);
        }
        if holds || best.is_none() {
            best = Some(tally);
        }
    }
    (
        Search {
            streams: held,
            broke: broke.is_some(),
            probes,
        },
        best,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(capacity: usize, most: usize) -> (usize, usize) {
        let (mut held, mut broke, mut tries) = (0, None, 0);
        while let Some(n) = next(held, broke, most) {
            tries += 1;
            if n <= capacity { held = n } else { broke = Some(n) }
        }
        (held, tries)
    }

    #[test]
    fn every_capacity_is_found_in_few_tests() {
        for capacity in 0..200 {
            let (found, tries) = find(capacity, 4096);
            assert_eq!(found, capacity);
            assert!(tries <= 16, "{capacity} took {tries}");
        }
    }

    #[test]
    fn the_search_ends_at_its_bound() {
        assert_eq!(find(1000, 48), (48, 7));
    }
}
