//! `moshi-server token`: look at a credential as the server does, or make one for development.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Read;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{ArgAction, Subcommand};

use super::keys::duration_s;
use crate::auth::inspect::{Inspection, Inspector, Subject};
use crate::auth::mint::{TokenRequest, mint};
use crate::auth::{BetterAuthConfig, KeySource, Origins, Secrets};
use crate::clock::unix_now;

/// Say exactly why a token or cookie is refused, or mint a development token. Secrets come from BETTER_AUTH_SECRET and
/// BETTER_AUTH_SECRETS.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Judge a token or the cookies of a request. The exit code is 0 for accept, 1 for reject.
    Inspect(Box<Inspect>),
    /// Print a token signed with BETTER_AUTH_SECRET, for development.
    Mint {
        #[arg(long, default_value = "developer")]
        user: String,
        #[arg(long, default_value = "development")]
        session: String,
        #[arg(long, value_parser = duration_s, default_value = "10m")]
        expires_in: i64,
        #[arg(long)]
        audience: Option<String>,
    },
}

#[derive(clap::Args)]
struct Inspect {
    /// The token; `-` reads it from standard input.
    #[arg(
        long,
        allow_hyphen_values = true,
        required_unless_present = "cookie",
        conflicts_with = "cookie"
    )]
    token: Option<OsString>,
    /// A `Cookie` header's value; repeat it for several header fields.
    #[arg(long, allow_hyphen_values = true, action = ArgAction::Append)]
    cookie: Option<Vec<OsString>>,
    /// The request's `Origin`. Checked for cookies.
    #[arg(long, allow_hyphen_values = true)]
    origin: Option<String>,
    /// An allowed origin (`allowed_origins`); repeat it for several. Makes cookies need an origin.
    #[arg(
        long = "allow-origin",
        visible_alias = "allowed-origin",
        value_delimiter = ','
    )]
    allow_origin: Vec<String>,
    /// Unix seconds to judge at; now if not given.
    #[arg(long, allow_negative_numbers = true)]
    at: Option<i64>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    #[arg(long)]
    audience: Option<String>,
    #[arg(long)]
    issuer: Option<String>,
    /// File with the auth server's key set.
    #[arg(long)]
    jwks: Option<PathBuf>,
    #[arg(long, default_value = "better-auth")]
    cookie_prefix: String,
    /// Name of the session cache's cookie, if it was renamed.
    #[arg(long)]
    session_data_cookie: Option<String>,
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value_t = false)]
    require_secure_cookie: bool,
    #[arg(long, visible_alias = "version-pin")]
    cookie_cache_version: Option<String>,
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value_t = false)]
    bind_session_token: bool,
    #[arg(long, num_args = 0..=1, default_missing_value = "true", default_value_t = false)]
    require_verified_email: bool,
    /// Skew allowed between the clocks, in seconds.
    #[arg(long, default_value_t = BetterAuthConfig::default().leeway_s, value_parser = clap::value_parser!(i64).range(0..=60))]
    leeway: i64,
    #[arg(long, default_value_t = BetterAuthConfig::default().max_token_bytes)]
    max_token_bytes: usize,
}

/// Runs the command.
///
/// # Errors
/// There is no secret to sign with, or what is to be judged cannot be read.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Inspect(inspect) => look(*inspect),
        Action::Mint {
            user,
            session,
            expires_in,
            audience,
        } => {
            let request = TokenRequest {
                user_id: user,
                session_id: session,
                life_s: expires_in,
                audience,
            };
            let token = mint(&request, &Secrets::from_env(env)?, unix_now())?;
            super::print(&format!("{token}\n"))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

fn look(args: Inspect) -> anyhow::Result<ExitCode> {
    let at = args.at.unwrap_or_else(unix_now);
    let subject = match (args.token, args.cookie) {
        (Some(token), _) if token == "-" => {
            let mut text = String::new();
            std::io::stdin()
                .read_to_string(&mut text)
                .context("cannot read the token from standard input")?;
            Subject::Token(text.trim().to_owned())
        }
        (Some(token), _) => Subject::Token(token.to_string_lossy().into_owned()),
        (None, cookies) => Subject::Cookies(
            cookies
                .unwrap_or_default()
                .into_iter()
                .map(OsString::into_encoded_bytes)
                .collect(),
        ),
    };
    let origin = if args.origin.is_some() || !args.allow_origin.is_empty() {
        Some((args.origin, Origins::new(args.allow_origin)?))
    } else {
        None
    };
    let inspector = Inspector {
        settings: BetterAuthConfig {
            jwks_file: None,
            jwks_url: None,
            issuer: args.issuer,
            audience: args.audience,
            cookie_prefix: args.cookie_prefix,
            session_data_cookie: args.session_data_cookie,
            require_secure_cookie: args.require_secure_cookie,
            bind_session_token: args.bind_session_token,
            cookie_cache_version: args.cookie_cache_version,
            require_verified_email: args.require_verified_email,
            leeway_s: args.leeway,
            max_token_bytes: args.max_token_bytes,
        },
        secrets: Secrets::from_env(env),
        keys: args.jwks.map(KeySource::from_file).transpose()?,
        origin,
    };
    let inspection = inspector.inspect(subject, at);
    let text = if args.json {
        serde_json::to_string(&inspection)? + "\n"
    } else {
        readable(&inspection)
    };
    super::print(&text)?;
    Ok(if inspection.verdict == "accept" {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn readable(inspection: &Inspection) -> String {
    let mut text = format!("{}\n", inspection.verdict);
    let mut line = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            let _ = writeln!(text, "  {name}: {value}");
        }
    };
    line("reason", inspection.reason.map(str::to_owned));
    line("method", Some(inspection.method.to_owned()));
    line("user", inspection.user_id.clone());
    line("session", inspection.session_id.clone());
    line(
        "token expires (Unix s)",
        inspection.expires_at.map(|at| at.to_string()),
    );
    line(
        "session expires (Unix s)",
        inspection.session_expires_at.map(|at| at.to_string()),
    );
    line("what to do", inspection.advice.clone());
    text
}
