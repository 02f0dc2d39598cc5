//! Metrics that no event updates: they are read when the metrics are asked for.

use super::Shared;
use crate::clock::unix_now;
use crate::session::admission::Admission;
use crate::telemetry::labels::{Outcome, SharedLink};

/// Renders all metrics in the text format of Prometheus, after updating these.
pub(super) fn render(shared: &Shared) -> String {
    let meters = &shared.context.meters;
    let sum = |of: fn(&Admission) -> usize| {
        let modules = shared.modules.iter();
        modules.map(|module| of(&module.admission)).sum::<usize>() as f64
    };
    for module in &shared.modules {
        module.meters.rows.set(module.admission.total() as f64);
        module.meters.devices.set(module.admission.devices() as f64);
        module.meters.used.set(module.admission.used() as f64);
    }
    let depth = &meters.links.depth;
    meters.admission.waiting.set(sum(Admission::waiting));
    depth.of(SharedLink::Admission).set(sum(Admission::waiting));
    depth.of(SharedLink::Ingress).set(sum(Admission::ingress_depth));
    let failing = shared.guard.key_file_failing_since(unix_now());
    meters.auth.key_file_failed.set(failing.unwrap_or(0) as f64);
    if let Some(keys) = shared.guard.keys() {
        let (state, auth) = (keys.state(), &meters.auth);
        auth.keyset_keys.set(state.keys as f64);
        auth.keyset_fetched.set(state.fetched_at as f64);
        auth.keyset_fetches.of(Outcome::Ok).absolute(state.fetches);
        auth.keyset_fetches.of(Outcome::Error).absolute(state.failures);
    }
    meters.render()
}
