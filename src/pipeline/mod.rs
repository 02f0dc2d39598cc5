//! The batched pipeline: rows as entities, dense columns, plain systems, bounded links between stages.

pub mod columns;
pub mod credits;
pub mod decode;
pub mod frame;
pub mod ids;
pub mod links;
pub mod phase;
pub mod rows;
pub mod words;
