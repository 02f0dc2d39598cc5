//! `gpu-check`: what `scripts/gpu-check` runs on a machine with a GPU.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::model::cuda::check::{self, Fixture, Wanted};
use crate::module::stt::SttModule;

/// Fixtures with the seeds of their audio and the most frames to compare.
const FIXTURES: [(&str, u32, usize); 2] = [("tiny-1b", 1, 520), ("tiny-2.6b", 2, 130)];

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
        fixtures: FIXTURES
            .iter()
            .map(|of| fixture(&args.fixtures, *of))
            .collect::<Result<_, _>>()?,
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

/// Reads the fixture called `name`, whose configuration names files beside itself.
fn fixture(fixtures: &Path, (name, seed, frames): (&str, u32, usize)) -> anyhow::Result<Fixture> {
    let dir = fixtures.join(name);
    let config = dir.join("config.toml");
    let text = std::fs::read_to_string(&config).with_context(|| config.display().to_string())?;
    let table: toml::Table = text.parse()?;
    let module = table.get("modules").and_then(|modules| modules.get("asr"));
    let module: SttModule = module.context("no [modules.asr]")?.clone().try_into()?;
    let mut stt = module.config()?;
    for file in [&mut stt.lm_file, &mut stt.codec_file, &mut stt.tokenizer_file] {
        *file = dir.join(&*file);
    }
    Ok(Fixture {
        name: name.to_owned(),
        config: stt,
        expected: dir.join("expected.safetensors"),
        seed,
        frames,
    })
}
