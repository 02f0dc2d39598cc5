//! Every queue of the server: where it is made, how much it holds, and what happens when it is full.
//!
//! No channel is created outside this folder. Sizes follow from the credits of a session, so a link whose policy is
//! [`WhenFull::Bug`] can only be full if the accounting is wrong.

mod edges;
mod error;
mod ingress;
mod pcm;
pub mod pool;
mod steps;

pub use self::edges::{ends, inbox, outbox, side};
pub use self::error::LinkError;
pub use self::ingress::{IngressRx, IngressTx, ingress};
pub use self::pcm::{Arrival, PcmRx, PcmTx, pcm};
pub use self::steps::{STEP_LINK, StepRx, StepTx, steps};

/// What a full queue does to its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The sender waits, and so does everything before it.
    Stall,
    /// The newcomer is told to come back later.
    Refuse,
    /// It cannot be full while credits are counted right: the session ends, and the log says so.
    Bug,
}

/// One queue and its policy. The table in ARCHITECTURE.md is tested against these.
pub struct Link {
    pub name: &'static str,
    pub when_full: WhenFull,
}

const fn link(name: &'static str, when_full: WhenFull) -> Link {
    Link { name, when_full }
}

/// Every queue between a socket and its output, in the order audio passes them.
pub const LINKS: [Link; 9] = [
    link("connections", WhenFull::Refuse),
    link("admission", WhenFull::Refuse),
    link("inbox", WhenFull::Stall),
    link("credits", WhenFull::Stall),
    link("ingress", WhenFull::Bug),
    link("frames", WhenFull::Bug),
    link("ring", WhenFull::Bug),
    link("steps", WhenFull::Stall),
    link("outbox", WhenFull::Stall),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_architecture_shows_every_queue_with_its_policy() {
        let text = include_str!("../../../ARCHITECTURE.md");
        for Link { name, when_full } in LINKS {
            let row = text.lines().find(|line| line.starts_with(&format!("| {name} |")));
            let row = row.unwrap_or_else(|| panic!("ARCHITECTURE.md lacks the queue {name}"));
            let policy = row.rsplit('|').nth(1).unwrap_or_default().trim();
            assert!(policy.starts_with(&format!("{when_full:?}")), "{name}: {policy}");
        }
    }
}
