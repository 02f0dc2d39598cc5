//! Wire protocols: bytes to [`Input`](crate::stream::input::Input) and [`Output`](crate::stream::output::Output) to bytes.
//! Knows no sockets, sessions or rows.
//!
//! `docs/protocol.md` is the reference of what this server speaks. Each protocol is a [`dialect::Dialect`].

pub mod close;
pub mod deepgram;
pub mod dialect;
pub mod gradium;
pub mod kyutai;
pub mod openai;
pub mod query;
pub mod segmenter;
pub mod service;
mod uuid;
