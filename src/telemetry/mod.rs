//! Observing the server: metrics, health, logs.
//!
//! [`metrics::Meters`] is made first and handed to everything that records. Everything else hangs off it: [`health`]
//! publishes the state of the server, [`upkeep`] samples what no event reports, [`logs`] counts panics.

pub mod buckets;
pub mod capacity;
pub mod catalogue;
mod exposition;
mod gpu;
pub mod health;
mod instrument;
pub mod labels;
pub mod legacy;
pub mod logs;
pub mod metrics;
#[cfg(feature = "otel")]
mod otel;
mod process;
pub mod record;
pub mod upkeep;

pub use exposition::CONTENT_TYPE;
pub use instrument::{Metric, MetricKind, SecondsCounter, Unit};
pub use metrics::Meters;

/// Publishes what was built and when.
pub fn publish_build(meters: &Meters) {
    meters.build_info(&[
        ("version", env!("CARGO_PKG_VERSION").into()),
        ("commit", env!("MOSHI_GIT_HASH").into()),
        ("rustc", env!("MOSHI_RUSTC_VERSION").into()),
        ("target", env!("MOSHI_TARGET").into()),
    ]);
}
