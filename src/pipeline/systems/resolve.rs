//! Resolve: applies flush, restart, end and markers once the row has consumed the audio before them.
//!
//! A flush is done by the engine itself: `delay` steps of silence bring out the text of everything heard. Markers are
//! counted in steps of their own stream, so what other streams do cannot answer them.

use crate::pipeline::columns::{EngineCols, StopKind};
use crate::pipeline::credits::MIN_CHARGE;
use crate::pipeline::phase::{Phase, PhaseEvent};
use crate::pipeline::tick::RowEvent;
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::ids::{RowId, RowKey};

/// Applies to `row` every request whose place in the audio it has reached. `delay` is the model's, in frames.
pub fn resolve(cols: &mut EngineCols, row: RowId, delay: u32, events: &mut Vec<(RowKey, RowEvent)>) {
    let Some(key) = cols.key(row) else { return };
    loop {
        let moved = match cols.phase[row] {
            Phase::Active => begin_stop(cols, row, delay),
            Phase::Flushing | Phase::Ending if cols.silence[row] == 0 => settle(cols, key, delay, events),
            _ => false,
        };
        if !moved {
            break;
        }
    }
    answer_marks(cols, key, delay, events);
}

// Begins the first request in the queue if the row has consumed the audio before it.
fn begin_stop(cols: &mut EngineCols, row: RowId, delay: u32) -> bool {
    let Some(stop) = cols.stops[row].front().copied() else {
        return false;
    };
    let before = stop.at - cols.consumed[row];
    let event = match stop.what {
        // Samples that do not fill a frame belong to the stream that begins here.
        StopKind::Restart if before < FRAME_SAMPLES as u64 => PhaseEvent::Reset,
        StopKind::Flush | StopKind::Settle if before == 0 => PhaseEvent::Flush,
        StopKind::End if before == 0 => PhaseEvent::End,
        _ => return false,
    };
    if stop.what == StopKind::Restart {
        cols.stops[row].pop_front();
        cols.credit[row].give(MIN_CHARGE);
    } else {
        cols.silence[row] = silence_needed(cols, row, delay);
    }
    cols.advance(row, event)
}

// Steps until the text of the last audio is out.
fn silence_needed(cols: &EngineCols, row: RowId, delay: u32) -> u32 {
    if cols.consumed[row] == 0 {
        return 0;
    }
    let since = cols.steps[row] - cols.last_audio_step[row];
    delay.saturating_sub(u32::try_from(since).unwrap_or(u32::MAX))
}

fn settle(cols: &mut EngineCols, key: RowKey, delay: u32, events: &mut Vec<(RowKey, RowEvent)>) -> bool {
    let row = key.row;
    let Some(stop) = cols.stops[row].pop_front() else {
        return false;
    };
    events.push((key, RowEvent::Settled));
    answer_marks(cols, key, delay, events);
    match stop.what {
        StopKind::Flush => events.push((key, RowEvent::Flushed { asked: stop.asked })),
        StopKind::End => events.push((key, RowEvent::Ended { asked: stop.asked })),
        StopKind::Settle | StopKind::Restart => {}
    }
    if stop.what != StopKind::Settle {
        cols.credit[row].give(MIN_CHARGE);
    }
    cols.advance(row, PhaseEvent::Settled)
}

fn answer_marks(cols: &mut EngineCols, key: RowKey, delay: u32, events: &mut Vec<(RowKey, RowEvent)>) {
    let row = key.row;
    let (consumed, steps) = (cols.consumed[row], cols.steps[row]);
    let heard = if consumed == 0 {
        0
    } else {
        cols.last_audio_step[row] + u64::from(delay)
    };
    for mark in cols.marks[row].iter_mut().take_while(|mark| mark.at <= consumed) {
        mark.due.get_or_insert(heard);
    }
    while let Some(mark) = cols.marks[row].front() {
        if mark.due.is_none_or(|due| due > steps) {
            break;
        }
        events.push((
            key,
            RowEvent::Mark {
                id: mark.id,
                asked: mark.asked,
            },
        ));
        cols.credit[row].give(MIN_CHARGE);
        cols.marks[row].pop_front();
    }
    if cols.marks[row].is_empty() {
        cols.patience[row] = None;
    }
}
