//! What `/api/build_info` tells: when, from what and with what the program was built.

use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let now = std::env::var("SOURCE_DATE_EPOCH")
        .ok()
        .and_then(|s| s.parse().ok());
    let now = now.unwrap_or_else(|| {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs())
    });
    let git = |args: &[&str]| run("git", args);
    let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let verbose = run(&rustc, &["-vV"]);
    let line = |key: &str| {
        let found = verbose.lines().find_map(|line| line.strip_prefix(key));
        found.unwrap_or_default().trim().to_owned()
    };
    let commit_time = git(&["log", "-1", "--format=%cI"]);
    for (name, value) in [
        ("MOSHI_BUILD_TIMESTAMP", timestamp(now)),
        ("MOSHI_BUILD_DATE", timestamp(now)[..10].to_owned()),
        ("MOSHI_GIT_BRANCH", git(&["rev-parse", "--abbrev-ref", "HEAD"])),
        (
            "MOSHI_GIT_DATE",
            commit_time.get(..10).unwrap_or_default().to_owned(),
        ),
        ("MOSHI_GIT_TIMESTAMP", commit_time),
        ("MOSHI_GIT_HASH", git(&["rev-parse", "HEAD"])),
        (
            "MOSHI_GIT_DESCRIBE",
            git(&["describe", "--always", "--dirty", "--tags"]),
        ),
        ("MOSHI_RUSTC_HOST", line("host:")),
        ("MOSHI_RUSTC_VERSION", line("release:")),
        ("MOSHI_TARGET", std::env::var("TARGET").unwrap_or_default()),
    ] {
        println!("cargo:rustc-env={name}={value}");
    }
}

/// First output of a program, empty when it cannot be run.
fn run(program: &str, args: &[&str]) -> String {
    let output = Command::new(program)
        .args(args)
        .output()
        .ok()
        .filter(|o| o.status.success());
    output.map_or_else(String::new, |o| {
        String::from_utf8_lossy(&o.stdout).trim().to_owned()
    })
}

/// UTC, as `2026-01-31T12:00:00Z` (days to civil date after Howard Hinnant's algorithm).
fn timestamp(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400 + 719_468, unix % 86_400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let (day, month) = (
        day_of_year - (153 * shifted + 2) / 5 + 1,
        if shifted < 10 { shifted + 3 } else { shifted - 9 },
    );
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}
