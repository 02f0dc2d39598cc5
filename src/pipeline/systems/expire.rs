//! Expire: markers whose patience is over are answered without waiting for more audio.

use std::time::Instant;

use crate::pipeline::columns::{EngineCols, Stop, StopKind};

/// Queues the silence that answers markers of rows whose client went quiet. Returns the next moment to look again.
pub fn expire(cols: &mut EngineCols, now: Instant) -> Option<Instant> {
    let mut next: Option<Instant> = None;
    for row in cols.rows() {
        let Some(due) = cols.patience[row] else { continue };
        if due > now {
            next = Some(next.map_or(due, |next| next.min(due)));
            continue;
        }
        cols.patience[row] = None;
        let Some(last) = cols.marks[row].back() else {
            continue;
        };
        // A silence that is asked for behind them will answer them; one in front of the last of them will not, nor does a
        // stream that begins anew.
        let answered = |stop: &Stop| stop.what != StopKind::Restart && stop.at >= last.at;
        if !cols.stops[row].back().is_some_and(answered) {
            let at = cols.arrived(row);
            cols.stops[row].push_back(Stop {
                at,
                asked: now,
                what: StopKind::Settle,
            });
        }
    }
    next
}
