//! Ids of sessions, items and events.

/// Returns a new id of a kind of thing.
pub(super) fn new_id(kind: &str) -> String {
    format!("{kind}_{:032x}", rand::random::<u128>())
}
