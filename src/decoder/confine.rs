//! What the child takes from itself before it reads a byte of the file.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::process::{
    Resource, Rlimit, Signal, getrlimit, nice, set_parent_process_death_signal, setrlimit,
};
use rustix::thread::set_no_new_privs;

use crate::audio::RATE;

/// Descriptors: the three standard ones, the spool, and what the system opens for a moment.
const DESCRIPTORS: u64 = 16;

/// A third of the processor that live streams get when both want it.
const NICENESS: i32 = 5;

/// Seconds of processor time for a second of audio. Decoders take a hundredth, on slow machines a twentieth.
const CPU_PER_AUDIO: f64 = 0.25;

/// Confines this process for good: it ends with its parent, holds no descriptor of its parent's, gains no privileges, writes no
/// core, waits for live streams, and has `memory` bytes for data and `file` bytes for a file it writes.
///
/// Memory is counted by `RLIMIT_DATA`: it counts what can be written to and is no file, whereas `RLIMIT_AS` would count the
/// program itself too.
///
/// # Errors
/// The system refuses a limit.
pub(super) fn confine(memory: u64, file: u64) -> io::Result<()> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    set_no_new_privs(true)?;
    close_inherited()?;
    nice(NICENESS)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Nofile, DESCRIPTORS)?;
    limit(Resource::Fsize, file)?;
    limit(Resource::Data, memory)
}

fn limit(resource: Resource, most: u64) -> io::Result<()> {
    let most = getrlimit(resource).maximum.map_or(most, |hard| most.min(hard));
    let limit = Rlimit {
        current: Some(most),
        maximum: Some(most),
    };
    Ok(setrlimit(resource, limit)?)
}

/// Closes what is open besides the standard streams. The server opens everything so that children do not inherit it; a library
/// or a driver may not.
fn close_inherited() -> io::Result<()> {
    // The folder that is read here is in the list itself, and closed once the list is whole.
    let open: Vec<i32> = fs::read_dir("/proc/self/fd")?
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|fd| *fd > 2)
        .collect();
    for fd in open {
        if fs::symlink_metadata(format!("/proc/self/fd/{fd}")).is_ok() {
            // SAFETY: nothing in this process, which has just begun and has one thread, owns a descriptor above 2.
            unsafe { rustix::io::close(fd) };
        }
    }
    Ok(())
}

/// The processor time that decoding may take. The system ends the process (SIGXCPU) when it has taken more.
pub(super) struct CpuBudget {
    base: Duration,
    samples: u64,
    granted: u64,
}

impl CpuBudget {
    /// Grants `base`, in whole seconds.
    ///
    /// # Errors
    /// The system refuses the limit.
    pub(super) fn start(base: Duration) -> io::Result<Self> {
        let mut budget = Self {
            base,
            samples: 0,
            granted: 0,
        };
        budget.produced(0)?;
        Ok(budget)
    }

    /// Grants more for samples that were decoded.
    ///
    /// # Errors
    /// The system refuses the limit.
    pub(super) fn produced(&mut self, samples: usize) -> io::Result<()> {
        self.samples += samples as u64;
        let due = self.due();
        if due > self.granted {
            self.granted = due;
            // The soft limit only: it must rise again, and reaching it ends the process.
            let maximum = getrlimit(Resource::Cpu).maximum;
            let limit = Rlimit {
                current: Some(maximum.map_or(due, |hard| due.min(hard))),
                maximum,
            };
            setrlimit(Resource::Cpu, limit)?;
        }
        Ok(())
    }

    fn due(&self) -> u64 {
        let audio = self.samples as f64 / f64::from(RATE);
        (self.base.as_secs_f64() + audio * CPU_PER_AUDIO).ceil() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn audio_earns_a_quarter_of_its_length() {
        let mut budget = CpuBudget {
            base: Duration::from_secs(10),
            samples: 0,
            granted: u64::MAX,
        };
        assert_eq!(budget.due(), 10);
        budget.produced(RATE as usize * 400).unwrap();
        assert_eq!(budget.due(), 110);
    }
}
