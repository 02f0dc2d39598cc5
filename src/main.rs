//! The program. Everything is in the library; this chooses the command.

use std::process::ExitCode;

use clap::Parser;
use moshi_server::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    match Cli::parse().command.run() {
        Ok(code) => code,
        Err(error) => {
            cli::say(&format!("error: {}", cli::explain(&error)));
            ExitCode::FAILURE
        }
    }
}
