//! Expire: markers whose patience is over are answered without waiting for more audio.

use std::time::Instant;

use crate::pipeline::columns::{EngineCols, Stop, StopKind};
use crate::pipeline::phase::Phase;

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
        // A stop that is queued already will answer them.
        if cols.phase[row] == Phase::Active && cols.stops[row].is_empty() && !cols.marks[row].is_empty() {
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
