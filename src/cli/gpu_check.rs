//! `gpu-check`: what `scripts/gpu-check` runs on a machine with a GPU.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::model::cuda::check::{self, Wanted};

/// Compares GPU 0 with the reference and with itself, and measures the step. Prints a table, writes JSON.
#[derive(clap::Args)]
pub struct Args {
    /// Folder with tiny-1b and tiny-2.6b
    #[arg(long, default_value = "tests/fixtures")]
    fixtures: PathBuf,
    /// Only say whether GPU 0 can be used, and which it is
    #[arg(long)]
    probe: bool,
    /// Measure FlashAttention's kernels in this library (scripts/flash-attn) beside ours
    #[cfg(feature = "flash-attn")]
    #[arg(long, value_name = "LIBRARY")]
    flash_attn: Option<PathBuf>,
    /// Only a few steps of tiny-1b, for runs under a memory checker
    #[arg(long)]
    quick: bool,
    /// Where to write the results
    #[arg(long, default_value = "gpu-check.json")]
    json: PathBuf,
}

/// Runs the command. Exits with 1 where a check failed.
///
/// # Errors
/// No GPU, no fixtures, or the device failed.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    if args.probe {
        super::print(&format!("{}\n", check::probe()?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let wanted = Wanted {
        fixtures: &args.fixtures,
        quick: args.quick,
        #[cfg(feature = "flash-attn")]
        flash: args.flash_attn.as_deref(),
        #[cfg(not(feature = "flash-attn"))]
        flash: None,
    };
    let report = check::run(&wanted, |report| {
        Ok(std::fs::write(&args.json, serde_json::to_vec_pretty(report)?)?)
    })?;
    super::print(&check::table(&report))?;
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
