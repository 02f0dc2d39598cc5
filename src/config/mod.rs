//! Configuration: Kyutai's TOML, unchanged, plus our own sections.

pub mod module;
