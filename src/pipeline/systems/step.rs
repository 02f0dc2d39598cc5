//! Step: resets rows that begin, and moves the planned rows one frame on.

use super::plan::BatchPlan;
use crate::model::{ModelError, StepIo, StreamModel};
use crate::pipeline::columns::EngineCols;
use crate::pipeline::phase::{Phase, PhaseEvent};
use crate::pipeline::words::output::{RowEvent, TickOutput};
use crate::stream::frame::FRAME_SAMPLES;

/// Resets the model's state of every row that waits for it. Returns how many there were.
pub fn reset(cols: &mut EngineCols, model: &mut dyn StreamModel, out: &mut TickOutput) -> usize {
    let mut done = 0;
    for row in cols.rows() {
        if cols.phase[row] != Phase::Resetting {
            continue;
        }
        // Each lease samples differently, and a test that replays leases samples the same.
        model.reset_row(row, u64::from(cols.epoch[row]) << 16 | u64::from(row.0));
        if let (true, Some(key)) = (cols.advance(row, PhaseEvent::ResetDone), cols.key(row)) {
            out.before.push((key, RowEvent::Ready));
        }
        done += 1;
    }
    done
}

/// Takes the planned audio out of the rings into `pcm`, frame after frame, and gives its credits back.
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
        if got > 0 {
            cols.heard_step[row] = cols.steps[row];
        } else {
            cols.silence[row] = cols.silence[row].saturating_sub(1);
        }
        if let Some(key) = cols.key(row) {
            out.keys.push(key);
            out.heard.push(got as u16);
            out.arrived
                .push(if got > 0 { cols.ring[row].taken() } else { None });
            out.buffered.push(cols.ring[row].len() as u32);
        }
    }
}

/// Runs the model on what [`stage`] staged. The step must answer every row.
pub fn step(
    model: &mut dyn StreamModel,
    plan: &BatchPlan,
    pcm: &[f32],
    out: &mut TickOutput,
) -> Result<(), ModelError> {
    model.step(&mut StepIo {
        rows: &plan.rows,
        audio: &pcm[..plan.rows.len() * FRAME_SAMPLES],
        out: &mut out.step,
    })?;
    let heads = model.spec().pause_heads;
    if out.step.tokens.len() != plan.rows.len() || out.step.pauses.len() != plan.rows.len() * heads {
        return Err(ModelError(format!(
            "{} tokens and {} pauses for {} rows of {heads} heads",
            out.step.tokens.len(),
            out.step.pauses.len(),
            plan.rows.len()
        )));
    }
    Ok(())
}
