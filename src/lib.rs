//! Real-time speech server for delayed-streams models. Start at ARCHITECTURE.md, which has the order of these folders.

#![warn(unreachable_pub)]
// Unsafe code stands in the model's kernels and drivers, in the Opus binding, and where a decoder's process confines itself.
#![deny(unsafe_code)]

#[forbid(unsafe_code)]
pub mod app;
pub mod audio;
#[forbid(unsafe_code)]
pub mod auth;
#[forbid(unsafe_code)]
pub mod captions;
#[forbid(unsafe_code)]
pub mod cli;
#[forbid(unsafe_code)]
pub mod client;
#[forbid(unsafe_code)]
pub mod clock;
#[forbid(unsafe_code)]
pub mod config;
pub mod decoder;
#[forbid(unsafe_code)]
pub mod load;
pub mod model;
#[forbid(unsafe_code)]
pub mod module;
#[forbid(unsafe_code)]
pub mod net;
#[forbid(unsafe_code)]
pub mod open_files;
#[forbid(unsafe_code)]
pub mod pipeline;
#[forbid(unsafe_code)]
pub mod protocol;
#[forbid(unsafe_code)]
pub mod session;
#[forbid(unsafe_code)]
pub mod shutdown;
#[forbid(unsafe_code)]
pub mod stream;
#[forbid(unsafe_code)]
pub mod telemetry;
