//! Step: resets new rows, and advances the planned rows by one frame.

use super::plan::BatchPlan;
use super::speak::{prepare, seed};
use crate::model::{ModelError, Spec, StepIo, StepOutput, StreamModel};
use crate::pipeline::columns::EngineCols;
use crate::pipeline::outbox::STEP_EVENTS;
use crate::pipeline::phase::{Phase, PhaseEvent};
use crate::pipeline::tick::{RowEvent, TickOutput};
use crate::stream::frame::FRAME_SAMPLES;

/// Resets the model's state of every row that waits for it.
pub fn reset(cols: &mut EngineCols, model: &mut dyn StreamModel, out: &mut TickOutput) {
    for row in cols.rows() {
        if cols.phase[row] != Phase::Resetting {
            continue;
        }
        model.reset_row(row, seed(cols, row));
        let Some(key) = cols.key(row) else { continue };
        if cols.speaks && !prepare(cols, model, row, out) || !cols.advance(row, PhaseEvent::ResetDone) {
            continue;
        }
        let speaking = &mut cols.speaking[row];
        if !cols.speaks || !std::mem::replace(&mut speaking.is_ready, true) {
            out.before.push((key, RowEvent::Ready));
        }
        for _ in 0..std::mem::take(&mut speaking.cancels) {
            out.before.push((key, RowEvent::Cancelled));
        }
    }
}

/// Takes the planned audio out of the rings into `pcm`, frame after frame, and gives its credits back; takes the credits
/// of the output that the step will have.
pub fn stage(cols: &mut EngineCols, plan: &BatchPlan, pcm: &mut [f32], out: &mut TickOutput) {
    for ((row, take), frame) in plan
        .rows
        .iter()
        .zip(&plan.take)
        .zip(pcm.chunks_exact_mut(FRAME_SAMPLES))
    {
        let row = *row;
        let got = cols.ring[row].take(&mut frame[..*take]);
        frame[got..].fill(0.0);
        cols.consumed[row] += got as u64;
        cols.credit[row].release(got);
        cols.steps[row] += 1;
        if let Some(room) = &cols.room[row] {
            // There is room: the plan looked, and nobody else takes.
            let taken = room.try_take(STEP_EVENTS);
            debug_assert!(taken, "a row was planned without room for its output");
        }
        if got > 0 {
            cols.last_audio_step[row] = cols.steps[row];
        } else {
            cols.silence[row] = cols.silence[row].saturating_sub(1);
        }
        if let Some(key) = cols.key(row) {
            out.keys.push(key);
            out.client_samples.push(got as u16);
            out.arrived
                .push(if got > 0 { cols.ring[row].taken() } else { None });
            out.buffered.push(cols.ring[row].len() as u32);
            out.waited.push(std::mem::take(&mut cols.speaking[row].waited));
        }
    }
}

/// Runs the model on the audio that [`stage`] put into `pcm`.
///
/// # Errors
/// The model failed, or did not answer every row.
pub fn step(
    model: &mut dyn StreamModel,
    plan: &BatchPlan,
    pcm: &[f32],
    out: &mut TickOutput,
) -> Result<(), ModelError> {
    let hears = model.spec().ports.audio_in;
    model.step(&mut StepIo {
        rows: &plan.rows,
        audio: if hears {
            &pcm[..plan.rows.len() * FRAME_SAMPLES]
        } else {
            &[]
        },
        out: &mut out.step,
    })?;
    check(model.spec(), plan.rows.len(), &out.step)
}

// Checks that the model answered `rows` rows on each of its ports.
fn check(spec: &Spec, rows: usize, out: &StepOutput) -> Result<(), ModelError> {
    let (heads, ports) = (spec.pause_heads, spec.ports);
    let tokens = if ports.tokens { rows } else { 0 };
    let frames = if ports.audio_out { rows } else { 0 };
    let answered = [
        out.tokens.len(),
        out.pauses.len(),
        out.sounds.len(),
        out.audio.len(),
    ];
    if answered == [tokens, tokens * heads, frames, frames * FRAME_SAMPLES] {
        return Ok(());
    }
    Err(ModelError(format!(
        "{answered:?} tokens, pauses, frames and samples for {rows} rows of {heads} heads"
    )))
}
