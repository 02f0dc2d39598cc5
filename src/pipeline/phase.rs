//! Phases of a row. A column cannot hold a different type per state, and late messages really reach the engine, so phases
//! are an enum with one transition function, and illegal events are found at run time. Stages of a session are types
//! instead: `session::state`.

use crate::stream::stage::Stage;

/// Phase of a row in the engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Nobody has the row.
    #[default]
    Vacant,
    /// The model's state has to be reset before the next frame.
    Resetting,
    Active,
    /// Fed with silence until all audio so far is processed; then the stream goes on.
    Flushing,
    /// Fed with silence until all audio is processed; then the stream is over.
    Ending,
    /// The stream is over; the row waits for its session to detach.
    Retired,
}

/// What can happen to a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PhaseEvent {
    Attach,
    /// Audio or a control message arrived.
    Input,
    Reset,
    ResetDone,
    Flush,
    End,
    /// The silence was stepped to its end.
    Settled,
    Fail,
    Detach,
}

impl PhaseEvent {
    pub const ALL: [Self; 9] = [
        Self::Attach,
        Self::Input,
        Self::Reset,
        Self::ResetDone,
        Self::Flush,
        Self::End,
        Self::Settled,
        Self::Fail,
        Self::Detach,
    ];
}

impl Phase {
    /// Every phase.
    pub const ALL: [Self; 6] = [
        Self::Vacant,
        Self::Resetting,
        Self::Active,
        Self::Flushing,
        Self::Ending,
        Self::Retired,
    ];

    /// Returns the phase after `event`, or none where the event is illegal.
    #[must_use]
    pub const fn next(self, event: PhaseEvent) -> Option<Self> {
        use PhaseEvent as E;
        match (self, event) {
            (Self::Vacant, E::Attach) => Some(Self::Resetting),
            (Self::Vacant, _) | (_, E::Attach) => None,
            (_, E::Detach) => Some(Self::Vacant),
            (Self::Retired, E::Input | E::Fail) => Some(Self::Retired),
            (Self::Retired, _) => None,
            (_, E::Fail) => Some(Self::Retired),
            (Self::Resetting, E::ResetDone) => Some(Self::Active),
            (Self::Resetting, E::Input) => Some(Self::Resetting),
            (Self::Active, E::Input) => Some(Self::Active),
            // A cancel may come at any time before the end.
            (Self::Resetting | Self::Active | Self::Flushing, E::Reset) => Some(Self::Resetting),
            (Self::Active, E::Flush) => Some(Self::Flushing),
            (Self::Active, E::End) => Some(Self::Ending),
            (Self::Flushing, E::Input) => Some(Self::Flushing),
            (Self::Flushing, E::Settled) => Some(Self::Active),
            (Self::Ending, E::Settled) => Some(Self::Retired),
            _ => None,
        }
    }
}

/// Returns the stage that the session on a row of this phase is in. A vacant row has none.
#[must_use]
pub const fn stage_of(phase: Phase) -> Option<Stage> {
    match phase {
        Phase::Vacant => None,
        Phase::Resetting | Phase::Active | Phase::Flushing => Some(Stage::Active),
        Phase::Ending | Phase::Retired => Some(Stage::Draining),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stream::stage::is_edge;

    #[test]
    fn every_phase_can_be_left_and_only_a_vacant_row_can_be_taken() {
        for phase in Phase::ALL {
            assert_eq!(phase.next(PhaseEvent::Detach).is_some(), phase != Phase::Vacant);
            assert_eq!(phase.next(PhaseEvent::Attach).is_some(), phase == Phase::Vacant);
        }
    }

    proptest! {
        #[test]
        fn no_audio_is_heard_after_the_end(events in prop::collection::vec(0..PhaseEvent::ALL.len(), 0..60)) {
            let mut phase = Phase::Ending;
            for event in events.into_iter().map(|i| PhaseEvent::ALL[i]) {
                phase = phase.next(event).unwrap_or(phase);
                if phase == Phase::Vacant { break }
                prop_assert!(matches!(phase, Phase::Ending | Phase::Retired));
            }
        }
    }

    proptest! {
        /// Whatever happens to a row, its session sees a walk along the edges.
        #[test]
        fn phases_agree_with_stages(events in prop::collection::vec(0..PhaseEvent::ALL.len(), 0..60)) {
            let (mut phase, mut stage) = (Phase::Vacant, Stage::Queued);
            for event in events.into_iter().map(|i| PhaseEvent::ALL[i]) {
                let Some(next) = phase.next(event) else { continue };
                let to = stage_of(next).unwrap_or(Stage::Closed);
                prop_assert!(to == stage || is_edge(stage, to), "{phase:?} -{event:?}-> {next:?}: {stage} -> {to}");
                // A row that became vacant serves a new session.
                stage = if next == Phase::Vacant { Stage::Queued } else { to };
                phase = next;
            }
        }
    }
}
