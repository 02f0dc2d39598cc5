//! `validate`: what configurations mean, and every mistake in them.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use super::worker;
use crate::app::AppError;
use crate::config::Warning;
use crate::config::kind::ModuleTable as _;
use crate::module::Config;
use crate::module::hub::{Hub, Source};

/// Checks configurations and tells what they mean: files, rows, memory. Fetches and starts nothing.
#[derive(clap::Args)]
pub struct Args {
    /// Configuration files
    #[arg(required = true)]
    files: Vec<PathBuf>,
}

/// Runs the command. Exits with 1 when a file has a mistake or names a model file that is not there.
///
/// # Errors
/// None; mistakes are printed.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let hub = Hub::new(Source::from_env(true));
    let mut fine = true;
    for file in &args.files {
        let (report, good) = describe(file, &hub);
        super::print(&format!("{report}\n"))?;
        fine &= good;
    }
    Ok(if fine {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What there is to say about a file, and whether it can be used.
fn describe(file: &Path, hub: &Hub) -> (String, bool) {
    let name = file.display();
    let mut out = String::new();
    let (config, warnings) = match Config::load(file) {
        Ok(loaded) => loaded,
        Err(errors) => {
            warn(&mut out, &name.to_string(), &errors.warnings);
            let _ = writeln!(out, "{errors}");
            return (out, false);
        }
    };
    warn(&mut out, &name.to_string(), &warnings);
    let server = &config.server;
    let _ = writeln!(out, "  listens on {}:{}", server.addr, server.port);
    match server.admin_addr {
        Some(admin) => {
            let keys = if admin.ip().to_canonical().is_loopback() {
                ""
            } else {
                ", for API keys with the scope admin"
            };
            let _ = writeln!(out, "  metrics and the operator's routes on {admin}{keys}");
        }
        None => out.push_str("  no admin listener\n"),
    }
    let mut good = start_lines(&mut out, &config);
    for (name, module) in &config.modules {
        let rows = module.rows();
        let _ = writeln!(
            out,
            "  [modules.{name}] {}, {rows} streams at once",
            module.path()
        );
        let description = module.describe(hub);
        good &= description.usable;
        for line in description.lines {
            let _ = writeln!(out, "    {line}");
        }
    }
    let verdict = if good {
        "no mistakes"
    } else {
        "the server would not start:"
    };
    (format!("{name}: {verdict}\n{out}"), good)
}

/// What else the server needs to start: credentials and folders. False when it would not.
fn start_lines(out: &mut String, config: &Config) -> bool {
    let mut good = true;
    match worker::guard(config) {
        Err(error) => {
            good = false;
            let _ = writeln!(out, "  MISTAKE: {}", super::explain(&error));
        }
        Ok(guard) => {
            if guard.is_open() && !config.server.addr.is_loopback() {
                good = false;
                let _ = writeln!(out, "  MISTAKE: {}", AppError::Open(config.server.addr));
            }
            for warning in guard.warnings() {
                let _ = writeln!(out, "  warning: {warning}");
            }
        }
    }
    if let Some(dir) = &config.static_dir {
        // The server does without, as for the published files, which all name a folder.
        let there = dir.join("index.html").is_file();
        let state = if there {
            ""
        } else {
            " (no index.html there: no page)"
        };
        let _ = writeln!(out, "  serves the files in {}{state}", dir.display());
    }
    if let Some(dir) = config.log_dir.as_ref().filter(|_| config.telemetry.log_files) {
        let _ = writeln!(out, "  writes its log to files in {}", dir.display());
    }
    good
}

fn warn(out: &mut String, file: &str, warnings: &[Warning]) {
    for warning in warnings {
        let _ = writeln!(out, "  warning: {file}{warning}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn described(text: &str) -> (String, bool) {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.toml");
        std::fs::write(&file, text).unwrap();
        let source = Source {
            cache: dir.path().join("cache"),
            ..Source::from_env(true)
        };
        describe(&file, &Hub::new(source))
    }

    #[test]
    fn a_published_file_tells_its_memory_and_what_must_be_fetched() {
        let (_, text) = crate::config::bundled::CONFIGS[1];
        let (report, good) = described(text);
        assert!(good, "{report}");
        for part in [
            "64 streams at once",
            "will be fetched",
            "0.48 s behind",
            "60 s of context",
            "4 pause predictors",
        ] {
            assert!(report.contains(part), "{part} in {report}");
        }
    }

    #[test]
    fn a_missing_file_is_no_success() {
        let (_, text) = crate::config::bundled::CONFIGS[1];
        let (report, good) = described(&text.replace("hf://kyutai", "/nowhere"));
        assert!(!good && report.contains("MISSING"), "{report}");
    }

    #[test]
    fn what_would_keep_the_server_from_starting_is_no_success() {
        let module = "[modules.a]\ntype = \"Scripted\"\npath = \"/a\"\n";
        assert!(described(module).1);
        for (more, part) in [
            ("[server]\naddr = \"0.0.0.0\"\n", "no credentials"),
            ("[auth.better_auth]\njwks_url = \"nowhere\"\n", "MISTAKE"),
        ] {
            let (report, good) = described(&format!("{module}{more}"));
            assert!(!good && report.contains(part), "{report}");
            assert!(!report.contains("no mistakes"), "{report}");
        }
        let issuer = "[auth.better_auth]\nissuer = \"https://app.example/\"\n";
        let (report, good) = described(&format!("{module}{issuer}"));
        assert!(
            good && report.contains("warning: auth.better_auth.issuer"),
            "{report}"
        );
        let (report, good) = described(&format!("static_dir = \"/nowhere\"\n{module}"));
        assert!(good && report.contains("no index.html"), "{report}");
    }

    #[test]
    fn mistakes_are_listed_with_their_lines() {
        let (report, good) = described("[modules.a]\ntype = \"Scripted\"\n[limits]\nqueue_len = -1\n");
        assert!(!good);
        assert!(report.contains("config.toml:4: limits.queue_len"), "{report}");
        assert!(
            report.contains("config.toml:1: modules.a.path: missing field"),
            "{report}"
        );
    }
}
