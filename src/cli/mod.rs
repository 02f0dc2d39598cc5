//! The command line.

// They panic when whoever reads the output has had enough: `print` and `say` do not.
#![deny(clippy::print_stdout, clippy::print_stderr)]

pub mod configs;
pub mod decode_file;
pub mod demo;
#[cfg(feature = "cuda")]
pub mod gpu_check;
pub mod keys;
mod live;
pub mod load;
pub mod speak;
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
    Speak(speak::Args),
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

/// Writes to standard output. A closed pipe (`head`) is no failure.
fn print(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(()),
    }
}

/// Writes a line to standard error; if nobody reads that, there is nobody to tell.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{line}");
}

/// An error with its causes, each said once: many errors name their cause in their own words.
#[must_use]
pub fn explain(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
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
            Self::Speak(args) => speak::run(args),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_cause_of_an_error_is_said_once() {
        let io = || std::io::Error::other("the disk is full");
        let told = explain(&anyhow::Error::from(io()).context("cannot write keys.toml"));
        assert_eq!(told, "cannot write keys.toml: the disk is full");
        let named = anyhow::Error::from(io()).context("cannot write keys.toml (the disk is full); make room");
        assert_eq!(
            explain(&named),
            "cannot write keys.toml (the disk is full); make room"
        );
    }
}
