//! Ingest: messages of the input stage enter the columns. The only place where a row is attached or detached.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::pipeline::columns::{EngineCols, Mark, Stop, StopKind};
use crate::pipeline::credits::MIN_CHARGE;
use crate::pipeline::frame::FrameBuf;
use crate::pipeline::messages::{Attach, Pcm};
use crate::pipeline::phase::{Phase, PhaseEvent};
use crate::pipeline::speaking::{DryStop, Saying};
use crate::pipeline::tick::{RowEvent, TickOutput};
use crate::stream::end::{End, EndReason};
use crate::stream::ids::{RowId, RowKey};
use crate::stream::input::Control;

/// How long a marker waits for audio to go on before the engine adds the silence itself: three frames, more than a live
/// client's gaps and less than a person notices.
pub const PATIENCE: Duration = Duration::from_millis(240);

/// What arrived, for the metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ingested {
    /// Messages that the row's phase forbids.
    pub illegal: u64,
    /// Samples that the model never got because their session ended.
    pub dropped: usize,
}

/// Applies one message.
pub fn ingest(cols: &mut EngineCols, message: Pcm, now: Instant, out: &mut TickOutput, seen: &mut Ingested) {
    match message {
        Pcm::Attach { key, attach } => open(cols, key, *attach, out, seen),
        Pcm::Detach { key } => {
            // A lease that was never attached must reach the output stage too, or its row would never be free again.
            if cols.is_current(key) {
                let _ = cols.advance(key.row, PhaseEvent::Detach);
                cols.epoch[key.row] = 0;
                seen.dropped += cols.ring[key.row].len();
                cols.wipe(key.row);
            }
            out.before.push((key, RowEvent::Detached));
        }
        Pcm::Frame { key, .. }
        | Pcm::Saying { key, .. }
        | Pcm::Control { key, .. }
        | Pcm::Fail { key, .. }
            if !cols.is_current(key) =>
        {
            // Late, from a lease that is over.
        }
        Pcm::Frame { key, buf, credit } => audio(cols, key, buf, credit, now, out, seen),
        Pcm::Saying { key, saying } => {
            if cols.phase[key.row] == Phase::Retired {
                cols.credit[key.row].give(MIN_CHARGE);
            } else if cols.speaks && cols.advance(key.row, PhaseEvent::Input) {
                cols.speaking[key.row].queue.push_back(saying);
            } else {
                illegal(cols, key, out, seen);
            }
        }
        Pcm::Control { key, control } => {
            if cols.phase[key.row] == Phase::Retired {
                cols.credit[key.row].give(MIN_CHARGE);
            } else if cols.advance(key.row, PhaseEvent::Input) {
                queue(cols, key.row, control, now);
            } else {
                illegal(cols, key, out, seen);
            }
        }
        Pcm::Fail { key, reason } => fail(cols, key, reason.into(), out),
        // Receiving it is enough: the next plan looks at every row.
        Pcm::Wake => {}
    }
}

fn open(cols: &mut EngineCols, key: RowKey, attach: Attach, out: &mut TickOutput, seen: &mut Ingested) {
    if !cols.advance(key.row, PhaseEvent::Attach) {
        // A row is leased again only after its Detach has passed all stages, so this is a defect; the running stream is kept.
        seen.illegal += 1;
        attach.outbox.finish(EndReason::EngineFailed);
        return;
    }
    cols.epoch[key.row] = key.epoch.get();
    cols.wipe(key.row);
    cols.credit[key.row].open(attach.credits);
    cols.room[key.row] = Some(Arc::clone(attach.outbox.credits()));
    cols.speaking[key.row].speaker = attach.speaker;
    out.before.push((key, RowEvent::Opened(attach.outbox)));
}

fn audio(
    cols: &mut EngineCols,
    key: RowKey,
    mut buf: FrameBuf,
    credit: u32,
    now: Instant,
    out: &mut TickOutput,
    seen: &mut Ingested,
) {
    let row = key.row;
    if !cols.advance(row, PhaseEvent::Input) {
        cols.credit[row].give(credit);
        return illegal(cols, key, out, seen);
    }
    if cols.phase[row] == Phase::Retired {
        cols.credit[row].give(credit);
        return;
    }
    cols.credit[row].hold(credit);
    buf.arrived = Some(now);
    if !cols.ring[row].push(buf) {
        return illegal(cols, key, out, seen);
    }
    if !cols.marks[row].is_empty() {
        cols.patience[row] = Some(now + PATIENCE);
    }
}

fn queue(cols: &mut EngineCols, row: RowId, control: Control, now: Instant) {
    if cols.speaks {
        return queue_speech(cols, row, control, now);
    }
    let at = cols.arrived(row);
    let what = match control {
        Control::Mark(id) => {
            cols.marks[row].push_back(Mark {
                at,
                asked: now,
                id,
                due: None,
            });
            cols.patience[row] = Some(now + PATIENCE);
            return;
        }
        Control::Restart => StopKind::Restart,
        Control::Flush => StopKind::Flush,
        Control::End => StopKind::End,
        // There is no speech to cancel.
        Control::Cancel => return cols.credit[row].give(MIN_CHARGE),
    };
    cols.stops[row].push_back(Stop { at, asked: now, what });
}

// The requests that a row which speaks can be asked.
fn queue_speech(cols: &mut EngineCols, row: RowId, control: Control, now: Instant) {
    let last = match control {
        Control::Flush => false,
        Control::End => true,
        Control::Cancel | Control::Restart => {
            let mut held = 1;
            if cols.advance(row, PhaseEvent::Reset) {
                held += cols.speaking[row].forget();
                cols.speaking[row].cancels += 1;
                cols.ready_since[row] = None;
            }
            return cols.credit[row].give(MIN_CHARGE * held);
        }
        // There is no audio of the client to mark.
        Control::Mark(_) => return cols.credit[row].give(MIN_CHARGE),
    };
    let stop = DryStop { asked: now, last };
    cols.speaking[row].queue.push_back(Saying::Stop(stop));
}

fn illegal(cols: &mut EngineCols, key: RowKey, out: &mut TickOutput, seen: &mut Ingested) {
    seen.illegal += 1;
    fail(cols, key, EndReason::EngineFailed.into(), out);
}

/// Ends a row's stream before its time.
pub fn fail(cols: &mut EngineCols, key: RowKey, end: End, out: &mut TickOutput) {
    if cols.advance(key.row, PhaseEvent::Fail) {
        let held = cols.ring[key.row].len();
        cols.ring[key.row].clear();
        cols.credit[key.row].release(held);
        cols.credit[key.row]
            .give(MIN_CHARGE * (cols.marks[key.row].len() + cols.stops[key.row].len()) as u32);
        let unsaid = cols.speaking[key.row].forget();
        cols.credit[key.row].give(MIN_CHARGE * unsaid);
        cols.marks[key.row].clear();
        cols.stops[key.row].clear();
        cols.patience[key.row] = None;
        cols.ready_since[key.row] = None;
        out.after.push((key, RowEvent::Failed(end)));
    }
}
