//! Checks and measurements on a GPU, for `gpu-check`.

mod distance;
#[cfg(feature = "flash-attn")]
#[allow(unsafe_code, reason = "a function from a library")]
mod flash;
mod forced;
mod measure;
mod parity;

#[cfg(feature = "flash-attn")]
use flash::compare;
pub use measure::Stand;

use std::fmt::{self, Write as _};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::driver::Driver;
use super::driver::presence::presence;
use crate::model::stt::config::SttConfig;

/// One thing that must hold.
#[derive(Debug, Serialize)]
pub struct Check {
    pub name: String,
    pub passed: bool,
    pub detail: String,
}

impl fmt::Display for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mark = if self.passed { "ok    " } else { "FAILED" };
        write!(f, "{mark}  {}: {}", self.name, self.detail)
    }
}

/// The step at one size. Times in milliseconds.
#[derive(Debug, Serialize)]
pub struct Size {
    pub model: &'static str,
    pub rows: usize,
    pub p50: f64,
    pub p99: f64,
    /// The codec's part of p50, on the device.
    pub codec: f64,
    /// p50 with the language model after the codec instead of beside it.
    pub serial: f64,
    /// p50 of that, launch by launch instead of by graphs.
    pub eager: f64,
    /// Bytes over 4.8 TB/s, products over 790 TFLOP/s (bf16) and 50 TFLOP/s (the codec's).
    pub ideal: f64,
    /// Device milliseconds by span of the profile, of the eager step.
    pub stages: Vec<(String, f64)>,
}

/// One layer's attention by our kernel and by FlashAttention's, in milliseconds.
#[derive(Debug, Serialize)]
pub struct Attention {
    pub model: &'static str,
    pub rows: usize,
    pub ours_ms: f64,
    pub flash_ms: f64,
}

/// All of it.
#[derive(Debug, Serialize)]
pub struct Report {
    pub gpu: String,
    pub checks: Vec<Check>,
    pub sizes: Vec<Size>,
    /// Empty where FlashAttention's was not measured.
    pub attention: Vec<Attention>,
}

impl Report {
    /// Whether every check has passed.
    #[must_use]
    pub fn passed(&self) -> bool {
        self.checks.iter().all(|check| check.passed)
    }

    // Says it at once, too: the run may be cut off.
    fn add(&mut self, check: Check) {
        eprintln!("{check}");
        self.checks.push(check);
    }

    // What fails as a whole must not take the rest along.
    fn section(&mut self, name: &str, run: impl FnOnce(&mut Self) -> anyhow::Result<()>) {
        if let Err(e) = run(self) {
            self.add(Check {
                name: name.to_owned(),
                passed: false,
                detail: format!("{e:#}"),
            });
        }
    }
}

/// A small model with the reference implementation's results.
pub struct Fixture {
    pub name: String,
    pub config: SttConfig,
    /// The results, safetensors.
    pub expected: PathBuf,
    /// Seed of its audio.
    pub seed: u32,
    /// Most frames to compare.
    pub frames: usize,
}

/// What to check and measure.
pub struct Wanted<'a> {
    pub fixtures: Vec<Fixture>,
    /// A few steps of the first fixture alone: under a memory checker a step takes very long.
    pub quick: bool,
    /// FlashAttention's kernels, to be measured beside ours.
    pub flash: Option<&'a Path>,
}

/// Returns the name of GPU 0, with our kernels loaded onto it.
///
/// # Errors
/// There is no GPU, or it does not take the kernels.
pub fn probe() -> anyhow::Result<String> {
    presence(0).map_err(anyhow::Error::msg)?;
    Ok(Driver::open(0)?.name())
}

/// Runs everything on GPU 0 and hands the report to `save` whenever there is more of it.
///
/// # Errors
/// There is no GPU, or `save` failed. What fails later is a failed check of the report.
pub fn run(wanted: &Wanted<'_>, save: impl Fn(&Report) -> anyhow::Result<()>) -> anyhow::Result<Report> {
    let mut report = Report {
        gpu: probe()?,
        checks: Vec::new(),
        sizes: Vec::new(),
        attention: Vec::new(),
    };
    let check = |report: &mut Report, fixture: &Fixture, frames| {
        report.section(&fixture.name, |report| parity::checks(fixture, frames, report));
        save(report)
    };
    if wanted.quick {
        if let Some(first) = wanted.fixtures.first() {
            // The rings of 24 frames wrap.
            check(&mut report, first, 30)?;
        }
        return Ok(report);
    }
    for fixture in &wanted.fixtures {
        check(&mut report, fixture, fixture.frames)?;
    }
    for name in Stand::names() {
        report.section(name, |report| measure::sizes(name, report));
        save(&report)?;
    }
    report.section("formats", |report| measure::formats(report, 400));
    save(&report)?;
    #[cfg(feature = "flash-attn")]
    if let Some(library) = wanted.flash {
        report.section("FlashAttention", |report| compare(library, report));
        save(&report)?;
    }
    Ok(report)
}

/// Returns the report for a person.
pub fn table(report: &Report) -> String {
    let mut out = format!("{}\n", report.gpu);
    for c in &report.checks {
        let _ = writeln!(out, "{c}");
    }
    if !report.sizes.is_empty() {
        out.push_str("model       rows    p50    p99  codec serial  eager  ideal  ratio\n");
    }
    for s in &report.sizes {
        let _ = writeln!(
            out,
            "{:<10} {:>5} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>6.1} {:>6.2}",
            s.model,
            s.rows,
            s.p50,
            s.p99,
            s.codec,
            s.serial,
            s.eager,
            s.ideal,
            s.p50 / s.ideal
        );
        for (stage, ms) in &s.stages {
            let _ = writeln!(out, "          {stage:<18} {ms:>7.2}");
        }
    }
    if !report.attention.is_empty() {
        out.push_str("attention  rows   ours  FlashAttention, ms a layer\n");
    }
    for a in &report.attention {
        let _ = writeln!(
            out,
            "{:<9} {:>5} {:>6.3} {:>6.3}",
            a.model, a.rows, a.ours_ms, a.flash_ms
        );
    }
    out
}
