//! The systems: plain functions over columns. [`super::engine::Engine::tick`] is the one place that orders them.

pub mod expire;
pub mod ingest;
pub mod plan;
pub mod resolve;
pub mod speak;
pub mod step;

#[cfg(test)]
mod tests;
