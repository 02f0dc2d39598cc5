//! Decoding of posted files in a process of its own, one for each file.
//!
//! Libraries that read audio files are safe Rust, but the memory and time that a crafted file can cost in them has no bound, and
//! running out of memory ends a process. So the program starts itself once more (`moshi-server decode-file`): the file goes to
//! the child's standard input as it is uploaded, mono samples at 24 kHz come from its standard output, and what is wrong with
//! the file from its standard error. The child takes its own limits before it reads a byte (`confine.rs`); the server ends it
//! when the client leaves (`process.rs`).

mod child;
#[allow(unsafe_code, reason = "closes descriptors that it did not open")]
mod confine;
mod process;
mod spool;

pub use child::{ChildOptions, decode};
pub use process::{Decoder, Ended, Program};

/// Exit codes of the child; the first three as in sysexits.
mod exit {
    /// The file cannot be decoded. Standard error says why, in words for the client.
    pub(super) const BAD_FILE: u8 = 65;
    /// Decoding panicked: the file broke the library that reads it.
    pub(super) const PANICKED: u8 = 70;
    /// The child could not do its work, whatever the file is. Standard error says why, for the log.
    pub(super) const FAILED: u8 = 74;
}
