//! Stages of a session and the edges between them.

use std::fmt;

/// Where a session is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum Stage {
    Connecting,
    Authenticated,
    Queued,
    Active,
    Draining,
    Closed,
}

impl Stage {
    /// Every stage, in the order of the enum.
    pub const ALL: [Self; 6] = [
        Self::Connecting,
        Self::Authenticated,
        Self::Queued,
        Self::Active,
        Self::Draining,
        Self::Closed,
    ];

    /// Value of the metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connecting => "connecting",
            Self::Authenticated => "authenticated",
            Self::Queued => "queued",
            Self::Active => "active",
            Self::Draining => "draining",
            Self::Closed => "closed",
        }
    }
}

/// Every transition there is. Transitions of `session::state` that are not listed do not compile, the table in
/// ARCHITECTURE.md and the metric labels are tested against it.
pub const EDGES: [(Stage, Stage); 9] = [
    (Stage::Connecting, Stage::Authenticated),
    (Stage::Connecting, Stage::Closed),
    (Stage::Authenticated, Stage::Queued),
    (Stage::Authenticated, Stage::Closed),
    (Stage::Queued, Stage::Active),
    (Stage::Queued, Stage::Closed),
    (Stage::Active, Stage::Draining),
    (Stage::Active, Stage::Closed),
    (Stage::Draining, Stage::Closed),
];

/// Whether `EDGES` lists the transition.
#[must_use]
pub const fn is_edge(from: Stage, to: Stage) -> bool {
    let mut i = 0;
    while i < EDGES.len() {
        if EDGES[i].0 as u8 == from as u8 && EDGES[i].1 as u8 == to as u8 {
            return true;
        }
        i += 1;
    }
    false
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_only_go_forward_and_all_can_close() {
        for (from, to) in EDGES {
            assert!((from as u8) < (to as u8), "{from} -> {to}");
        }
        for stage in Stage::ALL {
            assert_eq!(is_edge(stage, Stage::Closed), stage != Stage::Closed);
        }
    }

    #[test]
    fn the_architecture_shows_the_edges() {
        let text = include_str!("../../ARCHITECTURE.md");
        let shown: Vec<String> = text
            .lines()
            .filter(|line| line.starts_with("| "))
            .map(str::to_owned)
            .collect();
        for from in Stage::ALL.into_iter().filter(|stage| *stage != Stage::Closed) {
            let to: Vec<&str> = EDGES
                .iter()
                .filter(|edge| edge.0 == from)
                .map(|edge| edge.1.label())
                .collect();
            let row = format!("| {from} | {} |", to.join(", "));
            assert!(shown.contains(&row), "ARCHITECTURE.md lacks {row}");
        }
    }
}
