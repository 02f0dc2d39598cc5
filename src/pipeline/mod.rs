//! The batched pipeline: rows as entities, dense columns, plain systems, bounded links between stages.

pub mod decode;
pub mod ids;
pub mod words;
