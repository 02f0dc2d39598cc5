//! Expire: answers markers whose timeout is over without waiting for more audio.

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
        // A flush or end queued after the last marker already answers it. One queued before it does not, and neither does
        // a restart.
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
