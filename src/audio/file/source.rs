//! Where the samples of a file come from.

use std::time::Duration;

use super::error::FileError;

/// A container with its codec.
pub(super) trait Source: Send {
    /// Decodes a packet, or the like, and appends its mono samples to `out`, which is empty.
    fn next(&mut self, out: &mut Vec<f32>) -> Result<Piece, FileError>;

    /// Returns how long the file says it is.
    fn length(&self) -> Option<Duration> {
        None
    }
}

/// Result of one step of a source.
pub(super) enum Piece {
    Audio { rate: u32 },
    Nothing,
    End,
}
