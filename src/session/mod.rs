//! Sessions: who is connected, what they may do, and when they end. Knows no tensors, no sockets and no wire.
//!
//! A session is a value whose type is its stage ([`state`]). Its task ([`task`]) reads as a straight line: wait for a row,
//! serve, drain, close. The row's side of the story is a column of the engine ([`crate::pipeline::phase`]).

pub mod admission;
pub mod connection;
pub mod context;
mod drain;
pub mod id;
pub mod limits;
mod outgoing;
pub mod registry;
mod renewal;
pub mod state;
pub mod task;
mod waiting;
