//! Device time by stage of steps that are queued launch by launch.

use std::collections::BTreeMap;

use cudarc::driver::{result as cu, sys};

use super::backend::{GpuError, Stage};
use super::driver::failed;
use super::lane::{Lane, event};

/// Events between stages. A step's last mark only ends the stage before it.
#[derive(Default)]
pub(super) struct Profile {
    events: Vec<sys::CUevent>,
    marks: Vec<Stage>,
    seconds: BTreeMap<Stage, f64>,
}

impl Profile {
    /// What `lane` is given from now on belongs to `stage`.
    pub(super) fn mark(&mut self, stage: Stage, lane: Lane) -> Result<(), GpuError> {
        let at = self.marks.len();
        if self.events.len() == at {
            self.events.push(event()?);
        }
        self.marks.push(stage);
        lane.record(self.events[at])
    }

    /// Adds the times between the marks of a finished step.
    pub(super) fn settle(&mut self) -> Result<(), GpuError> {
        let ends = self.events[..self.marks.len()].windows(2);
        for (stage, ends) in self.marks.iter().zip(ends) {
            // SAFETY: both were recorded and the stream is done.
            let ms = unsafe { cu::event::elapsed(ends[0], ends[1]) }.map_err(failed("a time"))?;
            *self.seconds.entry(*stage).or_default() += f64::from(ms) / 1e3;
        }
        self.marks.clear();
        Ok(())
    }

    /// Seconds by stage.
    pub(super) fn seconds(self) -> BTreeMap<Stage, f64> {
        for event in self.events {
            // SAFETY: made by `mark`, used nowhere else.
            let _ = unsafe { cu::event::destroy(event) };
        }
        self.seconds
    }
}
