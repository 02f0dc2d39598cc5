//! Identity of a batch row and of one lease on it.

use std::fmt;
use std::num::NonZeroU32;

/// Index of a batch row. Rows never move: host columns and model state share this index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowId(pub u16);

impl RowId {
    /// The row as an index into a column.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// One lease on one row. The epoch grows with each lease, so a message about an earlier lease is recognised and dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowKey {
    pub row: RowId,
    pub epoch: NonZeroU32,
}

impl fmt::Display for RowKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}e{}", self.row.0, self.epoch)
    }
}
