//! What happens in a stream, as its client is told. Times are seconds of the client's own audio, or of the audio that it is
//! sent.

use std::time::Duration;

use arrayvec::ArrayVec;

use super::sound::Sound;

/// Most pause heads of a checkpoint.
pub const MAX_PAUSE_HEADS: usize = 8;

/// Pause probabilities of one step, one per head.
pub type Pauses = ArrayVec<f32, MAX_PAUSE_HEADS>;

/// One event. A dialect says it in its own words, or leaves it out when its clients do not know it.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// The model is ready for this stream, at its start or after a restart.
    Ready,
    /// One frame of the client's audio was processed.
    Step {
        /// Frames of the client's audio before this one.
        frame: u64,
        /// None where the model has no pause heads.
        pauses: Pauses,
        /// Samples that wait for the model.
        queued: u32,
    },
    /// A word is complete; `start` is where it began.
    Word { text: String, start: f64 },
    /// The last word ended at `stop`.
    WordEnd { stop: f64 },
    /// All audio before the client's mark has been processed.
    Mark { id: i64 },
    /// All audio before the client's flush has been processed.
    Flushed,
    /// A frame of speech.
    Sound(Sound),
    /// A word that is being said, or a pause, from `start` to `stop` of the audio that the client is sent. Its audio comes
    /// later.
    Spoken { text: Box<str>, start: f64, stop: f64 },
    /// The client's cancel was done: nothing of the text before it follows, and the next audio begins at `at`.
    Cancelled { at: f64 },
    /// The stream is over and nothing more follows.
    End,
    /// Number of sessions that get a row before this one, and this one.
    Queued { position: u32 },
    /// The server stops; the session is ended after `left`.
    Draining { left: Duration },
    /// A renewed credential was accepted; the session may go on for `valid`.
    Renewed { valid: Duration },
    /// A renewed credential was refused; the session ends when its first one expires.
    NotRenewed,
}
