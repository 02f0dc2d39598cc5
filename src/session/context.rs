//! The parts of the server that a session uses.

use std::sync::Arc;

use tokio::sync::watch;

use crate::auth::Guard;
use crate::config::Limits;
use crate::shutdown::Lifecycle;
use crate::telemetry::Meters;

/// The parts of the server that a session uses.
#[derive(Clone)]
pub struct Context {
    pub limits: Arc<Limits>,
    pub guard: Arc<Guard>,
    pub lifecycle: watch::Receiver<Lifecycle>,
    pub meters: Meters,
}
