//! The integration tests, one module per behaviour. One binary, because linking the server costs more than running most of
//! them; nextest still gives each test a process of its own. Tests that replace the allocator or must not compile stay apart.

mod auth_support;
mod common;
mod crafted;

mod auth_better_auth;
mod auth_carriers;
mod auth_cli;
mod auth_guard;
mod auth_key_set;
mod auth_limits;
mod auth_signed_in;
mod auth_traps;
mod auth_vectors;
mod auth_worker;
mod back_pressure;
mod bundled_checkpoint;
mod cli;
mod cli_surroundings;
mod client_address;
mod connections;
mod decode_file;
mod deepgram;
mod deepgram_files;
mod devices;
mod exposure;
mod failures;
mod files;
mod fuzz;
mod gradium;
mod hostile_files;
mod metrics_catalogue;
mod openai_files;
mod openai_realtime;
#[cfg(feature = "otel")]
mod otel;
mod panic;
mod proxy_mistakes;
mod queue;
mod queues_together;
mod request_heads;
mod rfc6455;
mod rfc6455_close;
mod rfc6455_text;
mod session_ends;
mod session_lifecycle;
mod speech_cli;
mod speech_failures;
mod speech_formats;
mod speech_text;
mod speech_voices;
mod tidy;
mod uploads;
