//! `moshi-server keys`: API keys in a file of hashes.

use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::auth::Scope;
use crate::auth::key_file::{self, NewKey};
use crate::clock::unix_now;

/// Create, list and revoke API keys. A running server reads the file again by itself.
#[derive(clap::Args)]
pub struct Args {
    /// The file of hashed keys: `key_file` of `[auth]`.
    #[arg(long, global = true, default_value = "keys.toml", env = "MOSHI_KEY_FILE")]
    file: PathBuf,
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Make a key and print it. It is not stored and cannot be shown again.
    Create {
        /// What to know it by.
        name: String,
        #[arg(long = "scope", value_enum, default_values = ["listen"])]
        scopes: Vec<Scope>,
        /// Sessions at once; no limit if not given.
        #[arg(long)]
        max_sessions: Option<u32>,
        /// Connection minutes in a UTC day, of all sessions together; no limit if not given.
        #[arg(long)]
        minutes_per_day: Option<u32>,
        /// Life, such as 12h, 30d; for ever if not given.
        #[arg(long, value_parser = duration_s)]
        expires_in: Option<i64>,
    },
    /// Show the keys' names, scopes and limits.
    List,
    /// Remove a key: it opens no further session.
    Revoke { name: String },
}

/// Seconds of a duration such as `45s`, `10m`, `12h` or `30d`.
pub(super) fn duration_s(text: &str) -> Result<i64, String> {
    let wrong = || format!("{text:?} is no duration such as 45s, 10m, 12h or 30d");
    let unit = text.chars().next_back().ok_or_else(wrong)?;
    let factor = match unit {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 86_400,
        _ => return Err(wrong()),
    };
    let count: u32 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    Ok(i64::from(count) * factor)
}

/// Runs the command.
///
/// # Errors
/// The file of keys cannot be used, or has no such key, or has it already.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Create {
            name,
            scopes,
            max_sessions,
            minutes_per_day,
            expires_in,
        } => {
            let now = unix_now();
            let expires_at = expires_in.map(|life| now + life);
            let key = key_file::create(
                &args.file,
                NewKey {
                    name,
                    scopes,
                    expires_at,
                    max_sessions,
                    minutes_per_day,
                },
                now,
            )?;
            super::print(&format!("{}\n", key.reveal()))?;
            super::say(&format!(
                "Keep it: only its hash is stored, in {}.",
                args.file.display()
            ));
        }
        Action::List => {
            let mut listing = String::new();
            for key in key_file::read(&args.file)? {
                let expires = key.expires_at.map_or_else(|| "never".to_owned(), date);
                let limit = |limit: Option<u32>| limit.map_or_else(|| "-".to_owned(), |n| n.to_string());
                let scopes: Vec<String> = key
                    .scopes
                    .iter()
                    .map(|scope| format!("{scope:?}").to_lowercase())
                    .collect();
                let _ = writeln!(
                    listing,
                    "{}\tscopes {}\tsessions {}\tminutes/day {}\tcreated {}\texpires {expires}",
                    key.name,
                    scopes.join(","),
                    limit(key.max_sessions),
                    limit(key.minutes_per_day),
                    date(key.created_at),
                );
            }
            super::print(&listing)?;
        }
        Action::Revoke { name } => {
            key_file::revoke(&args.file, &name)?;
            super::say(&format!(
                "Revoked {name}. Sessions it has open go on until they end."
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn date(unix_s: i64) -> String {
    let moment = OffsetDateTime::from_unix_timestamp(unix_s).ok();
    moment
        .and_then(|m| m.format(&Rfc3339).ok())
        .unwrap_or_else(|| unix_s.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration_s("30d"), Ok(2_592_000));
        assert_eq!(duration_s("45s"), Ok(45));
        for wrong in ["", "d", "10", "-1h", "1é"] {
            assert!(duration_s(wrong).is_err(), "{wrong}");
        }
    }
}
