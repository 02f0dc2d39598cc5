//! Real-time speech server for delayed-streams models. Start at ARCHITECTURE.md.

pub mod audio;
pub mod config;
pub mod model;
pub mod pipeline;
pub mod protocol;
pub mod session;
pub mod telemetry;
