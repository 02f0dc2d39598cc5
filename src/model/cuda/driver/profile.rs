//! Device time by span of steps that are queued launch by launch.

use std::collections::BTreeMap;

use cudarc::driver::{result as cu, sys};

use super::failed;
use super::queue::{Queue, event};
use crate::model::cuda::backend::{GpuError, ProfileSpan};

/// Events between spans. A step's last mark only ends the span before it.
#[derive(Default)]
pub(super) struct Profile {
    events: Vec<sys::CUevent>,
    marks: Vec<ProfileSpan>,
    seconds: BTreeMap<ProfileSpan, f64>,
}

impl Profile {
    /// Begins `span`: what `queue` is given from now on belongs to it.
    pub(super) fn mark(&mut self, span: ProfileSpan, queue: Queue) -> Result<(), GpuError> {
        let at = self.marks.len();
        if self.events.len() == at {
            self.events.push(event()?);
        }
        self.marks.push(span);
        queue.record(self.events[at])
    }

    /// Adds the times between the marks of a finished step.
    pub(super) fn settle(&mut self) -> Result<(), GpuError> {
        let ends = self.events[..self.marks.len()].windows(2);
        for (span, ends) in self.marks.iter().zip(ends) {
            // SAFETY: both were recorded and the stream is done.
            let ms = unsafe { cu::event::elapsed(ends[0], ends[1]) }.map_err(failed("a time"))?;
            *self.seconds.entry(*span).or_default() += f64::from(ms) / 1e3;
        }
        self.marks.clear();
        Ok(())
    }

    /// Returns seconds by span.
    pub(super) fn seconds(self) -> BTreeMap<ProfileSpan, f64> {
        for event in self.events {
            // SAFETY: made by `mark`, used nowhere else.
            let _ = unsafe { cu::event::destroy(event) };
        }
        self.seconds
    }
}
