//! Identity of a session.

use std::fmt;
use std::num::NonZeroU32;

/// Identity of a session: a reusable slot and its generation. Printed as `s17v3`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId {
    pub slot: u32,
    pub generation: NonZeroU32,
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "s{}v{}", self.slot, self.generation)
    }
}
