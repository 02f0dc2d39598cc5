//! The `[telemetry]` table.

use serde::Deserialize;

/// How the process tells what it does.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct TelemetryConfig {
    /// Form of the log lines (`text`).
    pub log_format: LogFormat,
    /// Also write daily files into `log_dir`, as Kyutai's server does (true where `log_dir` is set).
    pub log_files: bool,
    /// Also export the metrics of speech to text under the names of Kyutai's server (false).
    pub kyutai_metrics: bool,
}

/// Form of a log line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log_format: LogFormat::Text,
            log_files: true,
            kyutai_metrics: false,
        }
    }
}
