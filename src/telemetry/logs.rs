//! Logs: where they go and what may be in them.
//!
//! What a line may hold: ids that this server made, names from the configuration, sizes, times, reasons from a closed set, the
//! peer's address. What it never holds: credentials in any form, cookies, query strings, words, audio, e-mail addresses. A
//! session gets its span from [`session_span`] alone, so its fields are listed in one place.

use std::fmt::Display;
use std::io;
use std::path::Path;

use tracing::Span;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::filter::{EnvFilter, ParseError};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use super::metrics::Meters;
use crate::config::telemetry::LogFormat;

/// Where log lines go.
#[derive(Clone, Copy, Debug)]
pub struct LogOptions<'a> {
    /// A level, or levels by module, like `info` or `info,moshi_server::auth=debug`.
    pub filter: &'a str,
    pub format: LogFormat,
    /// Nothing on standard output.
    pub silent: bool,
    /// Folder for daily files, and the instance's name: `log.<name>.<date>`.
    pub files: Option<(&'a Path, &'a str)>,
}

/// Logging cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "--log {filter:?} is not understood ({source}); use a level such as info, or levels by module such as info,moshi_server::auth=debug"
    )]
    Filter { filter: String, source: ParseError },
    #[error(
        "log files cannot be written to {dir} ({source}); make the folder writable, or set telemetry.log_files = false"
    )]
    Files {
        dir: String,
        source: tracing_appender::rolling::InitError,
    },
    #[cfg(feature = "otel")]
    #[error("spans cannot be exported ({0}); check the variables OTEL_EXPORTER_OTLP_*, or unset them")]
    Collector(#[from] opentelemetry_otlp::ExporterBuildError),
    #[error("logging was set up before in this process")]
    Twice(#[from] TryInitError),
}

/// Writes what is still in memory when it is dropped. Keep it until the process ends.
#[must_use]
pub struct LogGuard {
    #[cfg(feature = "otel")]
    _spans: Option<super::otel::Exporter>,
    _lines: Vec<WorkerGuard>,
}

/// Sets up logging for the process. Lines pass through a bounded queue; when a disk or a terminal is too slow for it, lines
/// are lost rather than audio.
///
/// # Errors
/// The filter is not understood, or the folder cannot be written to.
pub fn init(options: &LogOptions<'_>) -> Result<LogGuard, LogError> {
    let filter = EnvFilter::try_new(options.filter).map_err(|source| LogError::Filter {
        filter: options.filter.to_owned(),
        source,
    })?;
    let mut guards = Vec::new();
    let files = match options.files {
        Some((dir, name)) => {
            let appender = tracing_appender::rolling::Builder::new()
                .rotation(tracing_appender::rolling::Rotation::DAILY)
                .filename_prefix(format!("log.{name}"))
                .build(dir)
                .map_err(|source| LogError::Files {
                    dir: dir.display().to_string(),
                    source,
                })?;
            let (writer, guard) = tracing_appender::non_blocking(appender);
            guards.push(guard);
            Some(layer(options.format, false, writer))
        }
        None => None,
    };
    let stdout = (!options.silent).then(|| {
        let (writer, guard) = tracing_appender::non_blocking(io::stdout());
        guards.push(guard);
        layer(options.format, io::IsTerminal::is_terminal(&io::stdout()), writer)
    });
    let registry = tracing_subscriber::registry().with(stdout).with(files);
    #[cfg(feature = "otel")]
    let (registry, spans) = {
        let (layer, guard) = super::otel::layer()?.unzip();
        (registry.with(layer), guard)
    };
    registry.with(filter).try_init()?;
    Ok(LogGuard {
        #[cfg(feature = "otel")]
        _spans: spans,
        _lines: guards,
    })
}

fn layer<S, W>(format: LogFormat, ansi: bool, writer: W) -> Box<dyn Layer<S> + Send + Sync>
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let layer = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Text => layer.with_ansi(ansi).boxed(),
        LogFormat::Json => layer.json().flatten_event(true).with_span_list(false).boxed(),
    }
}

/// The span of one session. These are all the fields it has.
pub fn session_span(id: impl Display, module: &str, method: &'static str) -> Span {
    tracing::info_span!("session", %id, module, method)
}

/// Counts and logs panics of any thread. The message is left out: it may quote what a client sent.
pub fn count_panics(meters: Meters) {
    std::panic::set_hook(Box::new(move |info| {
        meters.process.panics.increment(1);
        let thread = std::thread::current();
        let at = info
            .location()
            .map_or_else(|| "unknown".to_owned(), ToString::to_string);
        tracing::error!(
            thread = thread.name().unwrap_or("unnamed"),
            at,
            "a thread panicked"
        );
    }));
}

#[cfg(test)]
mod tests;
