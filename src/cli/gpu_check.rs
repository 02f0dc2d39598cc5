//! `gpu-check`: what `scripts/gpu-check` runs on a machine with a GPU.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::model::cuda::check;

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
    /// Leave the measurements out, for runs under a memory checker
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
        println!("{}", check::probe()?);
        return Ok(ExitCode::SUCCESS);
    }
    #[cfg_attr(
        not(feature = "flash-attn"),
        expect(unused_mut, reason = "only the comparison adds to it")
    )]
    let mut report = check::run(&args.fixtures, args.quick)?;
    #[cfg(feature = "flash-attn")]
    if let Some(library) = &args.flash_attn {
        check::compare(library, &mut report)?;
    }
    std::fs::write(&args.json, serde_json::to_vec_pretty(&report)?)?;
    print!("{}", check::table(&report));
    Ok(if report.passed() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
