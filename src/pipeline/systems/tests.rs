//! The systems on columns made by hand: no thread, no queue, and no clock but the one passed in.

use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use super::expire::expire;
use super::plan::{BatchPlan, Decision, plan};
use super::resolve::resolve;
use crate::pipeline::bounds::Bounds;
use crate::pipeline::columns::{EngineCols, Mark, Stop, StopKind};
use crate::pipeline::credits::Credits;
use crate::pipeline::frame::FramePool;
use crate::pipeline::outbox::STEP_EVENTS;
use crate::pipeline::phase::Phase;
use crate::pipeline::tick::RowEvent;
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::ids::{RowId, RowKey};

const DELAY: u32 = 6;
const FRAME: u64 = FRAME_SAMPLES as u64;
const COALESCE: Duration = Duration::from_millis(20);

/// Columns of `rows` rows, each with a stream.
fn columns(rows: usize) -> EngineCols {
    let mut cols = EngineCols::new(Bounds::new(rows, 8));
    for row in cols.rows() {
        cols.epoch[row] = 1;
        cols.phase[row] = Phase::Active;
    }
    cols
}

fn hear(cols: &mut EngineCols, row: u16, samples: usize) {
    let pool = FramePool::new(1);
    let mut left = samples;
    while left > 0 {
        let mut buf = pool.take();
        let part = left.min(FRAME_SAMPLES);
        assert!(buf.fill(&vec![0.1; part]).is_empty());
        assert!(cols.ring[RowId(row)].push(buf));
        left -= part;
    }
}

fn stop(at: u64, what: StopKind) -> Stop {
    let asked = Instant::now();
    Stop { at, asked, what }
}

fn mark(at: u64, id: i64) -> Mark {
    let asked = Instant::now();
    Mark {
        at,
        asked,
        id,
        due: None,
    }
}

/// What `plan` says at `now`, with the rows and samples of the step.
fn planned(cols: &mut EngineCols, now: Instant) -> (Decision, Vec<(u16, usize)>) {
    let mut batch = BatchPlan::new(4);
    let decision = plan(cols, now, COALESCE, Waker::noop(), &mut batch);
    let rows = batch.rows.iter().map(|row| row.0).zip(batch.take);
    (decision, rows.collect())
}

/// Events that `resolve` makes for row 0, by name.
fn resolved(cols: &mut EngineCols) -> Vec<String> {
    let mut events: Vec<(RowKey, RowEvent)> = Vec::new();
    resolve(cols, RowId(0), DELAY, &mut events);
    let name = |event: &RowEvent| match event {
        RowEvent::Mark { id, .. } => format!("mark {id}"),
        RowEvent::Settled => "settled".to_owned(),
        RowEvent::Flushed { .. } => "flushed".to_owned(),
        RowEvent::Ended { .. } => "ended".to_owned(),
        _ => "other".to_owned(),
    };
    events.iter().map(|(_, event)| name(event)).collect()
}

/// Row 0 steps `frames` frames of audio that it has heard.
fn step(cols: &mut EngineCols, frames: u64) {
    cols.consumed[RowId(0)] += frames * FRAME;
    cols.steps[RowId(0)] += frames;
    cols.last_audio_step[RowId(0)] = cols.steps[RowId(0)];
}

#[test]
fn a_step_starts_when_all_streams_are_ready_or_the_first_has_waited_long_enough() {
    let mut cols = columns(3);
    cols.phase[RowId(2)] = Phase::Vacant;
    let now = Instant::now();
    assert_eq!(planned(&mut cols, now), (Decision::Nothing, vec![]));
    hear(&mut cols, 1, FRAME_SAMPLES);
    assert_eq!(
        planned(&mut cols, now),
        (Decision::WaitUntil(now + COALESCE), vec![(1, FRAME_SAMPLES)])
    );
    // The other stream is not waited for beyond that, and waiting does not begin anew.
    let later = now + COALESCE;
    assert_eq!(planned(&mut cols, later).0, Decision::Step);
    hear(&mut cols, 0, FRAME_SAMPLES);
    let (decision, rows) = planned(&mut cols, now);
    assert_eq!((decision, rows.len()), (Decision::Step, 2));
}

#[test]
fn a_row_whose_client_does_not_read_stalls_itself_and_nobody_else() {
    let now = Instant::now();
    let mut cols = columns(2);
    let room = Arc::new(Credits::new(2 * STEP_EVENTS - 1));
    cols.room[RowId(0)] = Some(Arc::clone(&room));
    hear(&mut cols, 0, FRAME_SAMPLES);
    hear(&mut cols, 1, FRAME_SAMPLES);
    assert_eq!(planned(&mut cols, now).1.len(), 2);
    assert!(room.try_take(STEP_EVENTS));
    // The other stream steps at once: one that cannot step is not waited for.
    assert_eq!(
        planned(&mut cols, now),
        (Decision::Step, vec![(1, FRAME_SAMPLES)])
    );
    room.give(1);
    assert_eq!(planned(&mut cols, now).1.len(), 2);
}

#[test]
fn part_of_a_frame_is_stepped_only_where_the_stream_stops_behind_it() {
    let now = Instant::now();
    let mut cols = columns(1);
    hear(&mut cols, 0, 700);
    assert_eq!(planned(&mut cols, now).0, Decision::Nothing);
    cols.stops[RowId(0)].push_back(stop(700, StopKind::Flush));
    assert_eq!(planned(&mut cols, now), (Decision::Step, vec![(0, 700)]));
    // A restart leaves what does not fill a frame to the stream that begins there.
    cols.stops[RowId(0)][0].what = StopKind::Restart;
    assert_eq!(planned(&mut cols, now).0, Decision::Nothing);
    // A row that flushes steps silence, whatever has come behind the flush.
    cols.phase[RowId(0)] = Phase::Flushing;
    assert_eq!(planned(&mut cols, now), (Decision::Step, vec![(0, 0)]));
}

#[test]
fn a_marker_is_answered_a_delay_of_its_own_steps_behind_its_audio() {
    let mut cols = columns(1);
    cols.marks[RowId(0)].push_back(mark(2 * FRAME, 5));
    step(&mut cols, 1);
    assert!(resolved(&mut cols).is_empty());
    step(&mut cols, 1);
    assert!(
        resolved(&mut cols).is_empty(),
        "heard, and its text is still to come"
    );
    step(&mut cols, u64::from(DELAY) - 1);
    assert!(resolved(&mut cols).is_empty());
    step(&mut cols, 1);
    assert_eq!(resolved(&mut cols), ["mark 5"]);
    assert!(cols.marks[RowId(0)].is_empty());
}

#[test]
fn a_flush_adds_the_silence_that_is_missing_and_answers_markers_first() {
    let mut cols = columns(1);
    step(&mut cols, 3);
    cols.marks[RowId(0)].push_back(mark(3 * FRAME, 9));
    cols.stops[RowId(0)].push_back(stop(3 * FRAME, StopKind::Flush));
    assert!(resolved(&mut cols).is_empty());
    assert_eq!(
        (cols.phase[RowId(0)], cols.silence[RowId(0)]),
        (Phase::Flushing, DELAY)
    );
    // The engine steps the silence.
    cols.steps[RowId(0)] += u64::from(DELAY);
    cols.silence[RowId(0)] = 0;
    assert_eq!(resolved(&mut cols), ["settled", "mark 9", "flushed"]);
    assert_eq!(cols.phase[RowId(0)], Phase::Active);
    // Nothing was heard since: nothing is missing.
    cols.stops[RowId(0)].push_back(stop(3 * FRAME, StopKind::End));
    assert_eq!(resolved(&mut cols), ["settled", "ended"]);
}

#[test]
fn a_stream_without_audio_ends_without_a_step() {
    let mut cols = columns(1);
    cols.stops[RowId(0)].push_back(stop(0, StopKind::End));
    assert_eq!(resolved(&mut cols), ["settled", "ended"]);
    assert_eq!(cols.steps[RowId(0)], 0);
}

#[test]
fn markers_of_a_silent_client_are_settled_when_their_patience_is_over() {
    let mut cols = columns(2);
    let now = Instant::now();
    let late = now + Duration::from_millis(240);
    assert_eq!(expire(&mut cols, now), None);
    hear(&mut cols, 0, 100);
    cols.marks[RowId(0)].push_back(mark(100, 1));
    cols.patience[RowId(0)] = Some(late);
    assert_eq!(expire(&mut cols, now), Some(late), "not yet");
    assert!(cols.stops[RowId(0)].is_empty());
    assert_eq!(expire(&mut cols, late), None);
    let stop = cols.stops[RowId(0)][0];
    assert_eq!((stop.at, stop.what), (100, StopKind::Settle));
    // What is queued already will answer them; a second silence would be one too many.
    cols.patience[RowId(0)] = Some(late);
    assert_eq!(expire(&mut cols, late), None);
    assert_eq!(cols.stops[RowId(0)].len(), 1);
}

#[test]
fn a_marker_behind_a_silence_that_runs_gets_one_of_its_own() {
    let mut cols = columns(1);
    let now = Instant::now();
    step(&mut cols, 1);
    cols.marks[RowId(0)].push_back(mark(FRAME, 1));
    cols.patience[RowId(0)] = Some(now);
    expire(&mut cols, now);
    assert!(resolved(&mut cols).is_empty());
    assert_eq!(cols.phase[RowId(0)], Phase::Flushing);
    // Audio and a marker come while the engine adds silence, and their patience ends before it does.
    hear(&mut cols, 0, 100);
    cols.marks[RowId(0)].push_back(mark(FRAME + 100, 2));
    cols.patience[RowId(0)] = Some(now);
    expire(&mut cols, now);
    cols.steps[RowId(0)] += u64::from(DELAY);
    cols.silence[RowId(0)] = 0;
    assert_eq!(resolved(&mut cols), ["settled", "mark 1"]);
    assert_eq!(planned(&mut cols, now), (Decision::Step, vec![(0, 100)]));
    cols.ring[RowId(0)].clear();
    cols.consumed[RowId(0)] += 100;
    cols.steps[RowId(0)] += 1;
    cols.last_audio_step[RowId(0)] = cols.steps[RowId(0)];
    assert!(resolved(&mut cols).is_empty());
    cols.steps[RowId(0)] += u64::from(DELAY);
    cols.silence[RowId(0)] = 0;
    assert_eq!(resolved(&mut cols), ["settled", "mark 2"]);
}

#[test]
fn a_stream_that_begins_anew_does_not_leave_a_marker_behind() {
    let mut cols = columns(1);
    let now = Instant::now();
    step(&mut cols, 1);
    cols.marks[RowId(0)].push_back(mark(FRAME, 1));
    cols.stops[RowId(0)].push_back(stop(FRAME, StopKind::Restart));
    cols.patience[RowId(0)] = Some(now);
    expire(&mut cols, now);
    let kinds: Vec<StopKind> = cols.stops[RowId(0)].iter().map(|stop| stop.what).collect();
    assert_eq!(kinds, [StopKind::Restart, StopKind::Settle]);
}
