//! Real-time speech server for delayed-streams models. Start at ARCHITECTURE.md.

pub mod app;
pub mod audio;
pub mod auth;
pub mod captions;
pub mod cli;
pub mod client;
pub mod clock;
pub mod config;
pub mod decoder;
pub mod load;
pub mod model;
pub mod module;
pub mod net;
pub mod open_files;
pub mod pipeline;
pub mod protocol;
pub mod session;
pub mod shutdown;
pub mod stream;
pub mod telemetry;
