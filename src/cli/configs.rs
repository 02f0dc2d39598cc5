//! `configs`: prints the configurations that come with the server.

use std::process::ExitCode;

use crate::config::bundled;

/// Prints a configuration that comes with the server, or lists them.
#[derive(clap::Args)]
pub struct Args {
    /// Name of a configuration; `.toml` may be left out. Lists all when absent
    name: Option<String>,
}

/// Runs the command.
///
/// # Errors
/// There is no configuration of that name.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Some(name) = args.name else {
        for (file, text) in bundled::CONFIGS {
            let about = text.lines().next().unwrap_or_default().trim_start_matches("# ");
            super::print(&format!("{file:26} {about}\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let found = bundled::CONFIGS
        .iter()
        .find(|(file, _)| file.strip_suffix(".toml") == Some(stem(&name)));
    match found {
        Some((_, text)) => super::print(text).map(|()| ExitCode::SUCCESS),
        None => {
            let names: Vec<&str> = bundled::CONFIGS.iter().map(|(file, _)| *file).collect();
            anyhow::bail!(
                "there is no configuration `{name}`; there are {}",
                names.join(", ")
            )
        }
    }
}

fn stem(name: &str) -> &str {
    name.strip_suffix(".toml").unwrap_or(name)
}
