//! What of a track's beginning is not to be heard.

use std::time::Duration;

/// Where the audio of a track begins on the clock of its file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Start {
    /// Silence before the audio.
    pub(super) delay: Duration,
    /// Audio to drop at the front: what an encoder put there, or an editor cut off.
    pub(super) skip: Duration,
}
