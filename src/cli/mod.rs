//! The command line.

pub mod configs;
pub mod decode_file;
pub mod demo;
#[cfg(feature = "cuda")]
pub mod gpu_check;
pub mod keys;
mod live;
pub mod load;
pub mod token;
pub mod transcribe;
pub mod validate;
pub mod worker;

use std::io::Write as _;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// Real-time speech server: live audio in over a WebSocket, words out while the person speaks.
#[derive(Parser)]
#[command(name = "moshi-server", version)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

/// What the program can do.
#[derive(Subcommand)]
pub enum Command {
    Worker(worker::Args),
    Validate(validate::Args),
    Configs(configs::Args),
    Transcribe(transcribe::Args),
    Demo(demo::Args),
    Load(Box<load::Args>),
    Keys(keys::Args),
    Token(token::Args),
    #[command(hide = true)]
    DecodeFile(decode_file::Args),
    #[cfg(feature = "cuda")]
    #[command(hide = true)]
    GpuCheck(gpu_check::Args),
}

/// Writes to standard output. Whoever reads it may have had enough: that is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

impl Command {
    /// Runs the command; its exit code is the program's.
    ///
    /// # Errors
    /// What stopped it, for the person who started it.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Worker(args) => worker::run(args),
            Self::Validate(args) => validate::run(args),
            Self::Configs(args) => configs::run(args),
            Self::Transcribe(args) => transcribe::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Load(args) => load::run(*args),
            Self::Keys(args) => keys::run(args),
            Self::Token(args) => token::run(args),
            Self::DecodeFile(args) => Ok(decode_file::run(&args)),
            #[cfg(feature = "cuda")]
            Self::GpuCheck(args) => gpu_check::run(args),
        }
    }
}
