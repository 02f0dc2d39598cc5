//! Figures that nobody reports when they change: they are read when somebody asks for the metrics.

use super::Shared;
use crate::session::admission::Admission;
use crate::telemetry::labels::{Outcome, SharedLink};

/// All metrics, in the text form of Prometheus, after a look at those figures.
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
    if let Some(keys) = shared.guard.keys() {
        let (state, auth) = (keys.state(), &meters.auth);
        auth.keyset_keys.set(state.keys as f64);
        auth.keyset_fetched.set(state.fetched_at as f64);
        auth.keyset_fetches.of(Outcome::Ok).absolute(state.fetches);
        auth.keyset_fetches.of(Outcome::Error).absolute(state.failures);
    }
    meters.render()
}
