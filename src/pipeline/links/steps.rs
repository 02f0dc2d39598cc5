//! The link from the engine to the output stage.

use crossbeam_channel::{Receiver, Sender, bounded};

use crate::model::Spec;
use crate::pipeline::tick::TickOutput;

/// Outputs of ticks that may be on their way to the output stage.
pub const STEP_LINK: usize = 4;

/// The engine's end of the link to the output stage: outputs go out full and come back empty.
pub struct StepTx {
    full: Sender<Box<TickOutput>>,
    empty: Receiver<Box<TickOutput>>,
}

impl StepTx {
    /// Sends `output` and returns an empty one, waiting for the output stage to finish with one if need be. None when
    /// that stage has ended.
    pub fn exchange(&self, output: Box<TickOutput>) -> Option<Box<TickOutput>> {
        self.full.send(output).ok()?;
        self.empty.recv().ok()
    }

    /// Outputs that wait.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.full.len()
    }
}

/// The output stage's end.
pub struct StepRx {
    full: Receiver<Box<TickOutput>>,
    empty: Sender<Box<TickOutput>>,
}

impl StepRx {
    /// Waits for an output; none when the engine has ended.
    pub fn recv(&self) -> Option<Box<TickOutput>> {
        self.full.recv().ok()
    }

    /// An output if there is one.
    pub fn try_recv(&self) -> Option<Box<TickOutput>> {
        self.full.try_recv().ok()
    }

    /// Gives an output back for the next tick.
    pub fn give_back(&self, mut output: Box<TickOutput>) {
        output.clear();
        // The engine is gone or, which cannot be, there are more outputs than were made: drop it either way.
        let _ = self.empty.try_send(output);
    }
}

/// The link from the engine to the output stage, with the output the engine begins with.
#[must_use]
pub fn steps(spec: &Spec) -> (StepTx, StepRx, Box<TickOutput>) {
    let (full, filled) = bounded(STEP_LINK);
    let (emptied, empty) = bounded(STEP_LINK + 1);
    for _ in 0..STEP_LINK {
        // The link was made with room for these.
        let _ = emptied.try_send(Box::new(TickOutput::new(spec)));
    }
    let first = Box::new(TickOutput::new(spec));
    (
        StepTx { full, empty },
        StepRx {
            full: filled,
            empty: emptied,
        },
        first,
    )
}
