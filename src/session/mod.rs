//! A session: its stages, from connecting to closed.

pub mod stage;
