//! What the halves of a connection share.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use serde_json::Value;

/// What the halves share.
#[derive(Clone, Default)]
pub(super) struct Shared(pub(super) Arc<Mutex<State>>);

#[derive(Default)]
pub(super) struct State {
    /// The client's name for its request, which every message repeats; outside, whether it has set the session up.
    pub(super) setup: Option<Option<Value>>,
    /// Names of flushes that are not answered yet, in their order.
    pub(super) flushes: VecDeque<Value>,
}
