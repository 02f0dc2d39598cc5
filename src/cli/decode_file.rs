//! `decode-file`: the child process that decodes one posted file. The server starts it; it is not for people.

use std::process::ExitCode;
use std::time::Duration;

use crate::decoder::{self, ChildOptions};

/// Decodes an audio file from standard input to 32-bit floats at 24 kHz on standard output, within the limits given.
#[derive(clap::Args)]
pub struct Args {
    /// Bytes of memory
    #[arg(long)]
    memory: u64,
    /// Bytes of the file
    #[arg(long)]
    file: u64,
    /// Seconds of processor time without audio
    #[arg(long)]
    cpu: f64,
}

/// Runs the command.
#[must_use]
pub fn run(args: &Args) -> ExitCode {
    let options = ChildOptions {
        memory: args.memory,
        file: args.file,
        cpu: Duration::try_from_secs_f64(args.cpu).unwrap_or_default(),
    };
    ExitCode::from(decoder::decode(options))
}
