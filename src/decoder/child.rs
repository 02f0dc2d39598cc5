//! The child's side: a file from standard input, samples to standard output.

use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use super::confine::{CpuBudget, confine};
use super::exit;
use super::spool::{Spool, SpoolError};
use crate::audio::file::{FileDecoder, FileError};

/// Limits of one child.
#[derive(Clone, Copy, Debug)]
pub struct ChildOptions {
    /// Bytes of memory for data.
    pub memory: u64,
    /// Bytes of the file.
    pub file: u64,
    /// Processor time that may pass without audio.
    pub cpu: Duration,
}

/// Why a child ends early.
enum Stop {
    Bad(FileError),
    Failed(io::Error),
}

impl From<FileError> for Stop {
    fn from(error: FileError) -> Self {
        match error {
            FileError::Read(error) if error.get_ref().is_some_and(|e| e.is::<SpoolError>()) => {
                Self::Failed(error)
            }
            error => Self::Bad(error),
        }
    }
}

/// Confines the process, decodes standard input to standard output, and returns the exit code.
#[must_use]
pub fn decode(options: ChildOptions) -> u8 {
    // A panic's message may quote the file, and its place helps nobody who sees it here.
    std::panic::set_hook(Box::new(|_| ()));
    let (code, text) = match catch_unwind(AssertUnwindSafe(|| run(options))) {
        Ok(Ok(())) => return 0,
        Ok(Err(Stop::Bad(error))) => (exit::BAD_FILE, error.to_string()),
        Ok(Err(Stop::Failed(error))) => (exit::FAILED, error.to_string()),
        Err(_) => (exit::PANICKED, String::new()),
    };
    // Whoever started this may be gone.
    let _ = io::stderr().write_all(text.as_bytes());
    code
}

fn run(options: ChildOptions) -> Result<(), Stop> {
    confine(options.memory, options.file).map_err(Stop::Failed)?;
    let mut budget = CpuBudget::start(options.cpu).map_err(Stop::Failed)?;
    let spool = Spool::start(io::stdin()).map_err(Stop::Failed)?;
    let mut file = FileDecoder::open(spool)?;
    let mut out = io::stdout().lock();
    let mut bytes = Vec::new();
    let mut more = true;
    while more {
        bytes.clear();
        more = file.next(&mut |samples| {
            bytes.extend(samples.iter().flat_map(|sample| sample.to_le_bytes()));
        })?;
        budget
            .produced(bytes.len() / size_of::<f32>())
            .map_err(Stop::Failed)?;
        out.write_all(&bytes).map_err(Stop::Failed)?;
    }
    out.flush().map_err(Stop::Failed)
}
