//! Speak: rows that speak are given their text, and run dry where their client asked for it.
//!
//! Text goes into the model in the order of the client's messages. A flush or the end holds back what follows it: the model
//! is told that nothing more comes and is stepped until it has said all, and after a flush the row begins anew with the
//! same voice. The charge of each entry is held until the model begins to say it, so that what a row can have in the model
//! is bounded by its credits.

use crate::model::{Readiness, Spoken, StreamModel};
use crate::pipeline::columns::EngineCols;
use crate::pipeline::credits::MIN_CHARGE;
use crate::pipeline::phase::{Phase, PhaseEvent};
use crate::pipeline::speaking::Saying;
use crate::pipeline::systems::ingest::fail;
use crate::pipeline::tick::{RowEvent, TickOutput};
use crate::stream::end::{End, EndReason};
use crate::stream::ids::RowId;

/// Gives every row what it waits to say, ends the rows that have finished, and asks the model which of the rest can step.
pub fn speak(cols: &mut EngineCols, model: &mut dyn StreamModel, out: &mut TickOutput) {
    if !cols.speaks {
        return;
    }
    for row in cols.rows() {
        loop {
            match cols.phase[row] {
                Phase::Active => give(cols, model, row, out),
                Phase::Flushing | Phase::Ending => {}
                Phase::Vacant | Phase::Resetting | Phase::Retired => break,
            }
            cols.speaking[row].readiness = model.readiness(row);
            if !settle(cols, model, row, out) {
                break;
            }
        }
        cols.speaking[row].waited |= cols.speaking[row].readiness == Readiness::Waits;
    }
}

// Gives the model what is in the row's queue, up to a request to speak it to its end.
fn give(cols: &mut EngineCols, model: &mut dyn StreamModel, row: RowId, out: &mut TickOutput) {
    let Some(key) = cols.key(row) else { return };
    while let Some(saying) = cols.speaking[row].queue.pop_front() {
        match saying {
            Saying::Entry { entry, text } => {
                cols.speaking[row].given += 1;
                model.push_text(row, entry);
                out.before.push((key, RowEvent::Given(text)));
            }
            Saying::Voice(voice) => {
                cols.credit[row].give(MIN_CHARGE);
                cols.speaking[row].speaker.voice = Some(voice);
                if !prepare(cols, model, row, out) {
                    return;
                }
            }
            Saying::Stop(stop) => {
                cols.speaking[row].stop = Some(stop);
                model.end_text(row);
                let event = if stop.last {
                    PhaseEvent::End
                } else {
                    PhaseEvent::Flush
                };
                // Legal in the phase Active, the only one that comes here.
                let _ = cols.advance(row, event);
                return;
            }
        }
    }
}

/// Prepares a row that was reset for its speaker. False where the model refuses the voice, which ends the stream.
pub fn prepare(cols: &mut EngineCols, model: &mut dyn StreamModel, row: RowId, out: &mut TickOutput) -> bool {
    let speaker = &cols.speaking[row].speaker;
    model.set_sampling(row, &speaker.sampling);
    let Some(voice) = &speaker.voice else { return true };
    match (model.set_voice(row, voice), cols.key(row)) {
        (Err(wrong), Some(key)) => {
            fail(cols, key, End::because(EndReason::BadMessage, wrong.0), out);
            false
        }
        _ => true,
    }
}

// Ends what the row was running dry for, if it has finished. True where the row may go on.
fn settle(cols: &mut EngineCols, model: &mut dyn StreamModel, row: RowId, out: &mut TickOutput) -> bool {
    let (Some(key), Some(stop)) = (cols.key(row), cols.speaking[row].stop) else {
        return false;
    };
    if cols.speaking[row].readiness != Readiness::Finished {
        return false;
    }
    out.before.push((key, RowEvent::Settled));
    let asked = stop.asked;
    out.before.push((
        key,
        if stop.last {
            RowEvent::Ended { asked }
        } else {
            RowEvent::Flushed { asked }
        },
    ));
    let speaking = &mut cols.speaking[row];
    let unsaid = 1 + speaking.given - speaking.begun;
    (speaking.given, speaking.begun, speaking.stop) = (0, 0, None);
    cols.credit[row].give(MIN_CHARGE * unsaid);
    let legal = cols.advance(row, PhaseEvent::Settled);
    if stop.last || !legal {
        return false;
    }
    model.reset_row(row, seed(cols, row));
    prepare(cols, model, row, out)
}

/// Returns what drives the sampling of `row`: what its client chose, or else its lease, so that each lease samples
/// differently and a test that replays leases samples the same.
#[must_use]
pub fn seed(cols: &EngineCols, row: RowId) -> u64 {
    let own = u64::from(cols.epoch[row]) << 16 | u64::from(row.0);
    cols.speaking[row].speaker.sampling.seed.unwrap_or(own)
}

/// Gives back the charges of the entries that the rows of a step began to say.
pub fn begun(cols: &mut EngineCols, rows: &[RowId], spoken: &[Spoken]) {
    for spoken in spoken {
        let Some(row) = rows.get(spoken.at).copied() else {
            continue;
        };
        let speaking = &mut cols.speaking[row];
        let begun = (spoken.entry + 1).clamp(speaking.begun, speaking.given);
        let more = begun - speaking.begun;
        speaking.begun = begun;
        cols.credit[row].give(MIN_CHARGE * more);
    }
}
