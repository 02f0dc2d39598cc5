//! All handles of the catalogue, made once.

use std::ops::Deref;
use std::sync::Arc;

use metrics::Gauge;

use super::buckets::STEP_BUDGET;
use super::catalogue::{
    Admission, Audio, Auth, BUILD_INFO, Connections, EngineMeters, Files, Gpu, HealthState, Links,
    MODEL_INFO, Process, Runtime, Sessions, Speech, Transcription,
};
use super::exposition;
use super::instrument::{Instrument, Store};
use super::labels::Pair;
use super::legacy::Legacy;

/// All handles. Cheap to clone; made once.
#[derive(Clone)]
pub struct Meters(Arc<Areas>);

/// The areas every process has. Engines and cards are added as they are found.
pub struct Areas {
    store: Store,
    pub auth: Auth,
    pub connections: Connections,
    pub sessions: Sessions,
    pub admission: Admission,
    pub audio: Audio,
    pub files: Files,
    pub links: Links,
    pub health: HealthState,
    pub process: Process,
    pub runtime: Runtime,
    legacy: Option<Legacy>,
}

impl Deref for Meters {
    type Target = Areas;
    fn deref(&self) -> &Areas {
        &self.0
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new(false)
    }
}

impl Meters {
    /// Makes every series of the process, at zero. `kyutai_names` adds the names of Kyutai's server.
    #[must_use]
    pub fn new(kyutai_names: bool) -> Self {
        let store = Store::default();
        let legacy = kyutai_names.then(|| Legacy::register(&store));
        let mut sessions = Sessions::register(&store, &[]);
        if let Some(legacy) = &legacy {
            legacy.follow_sessions(&mut sessions);
        }
        Self(Arc::new(Areas {
            auth: Auth::register(&store, &[]),
            connections: Connections::register(&store, &[]),
            sessions,
            admission: Admission::register(&store, &[]),
            audio: Audio::register(&store, &[]),
            files: Files::register(&store, &[]),
            links: Links::register(&store, &[]),
            health: HealthState::register(&store, &[]),
            process: Process::register(&store, &[]),
            runtime: Runtime::register(&store, &[]),
            legacy,
            store,
        }))
    }

    /// Makes the engine's handles of one module. Called once per module: each call makes new series.
    #[must_use]
    pub fn engine(&self, module: &str) -> EngineMeters {
        let mut engine = EngineMeters::register(&self.store, &[("module", module.to_owned().into())]);
        if let Some(legacy) = &self.legacy {
            legacy.follow_engine(&mut engine);
        }
        engine.budget.set(STEP_BUDGET.as_secs_f64());
        engine
    }

    /// Makes the handles for words of one module. Called once per module.
    #[must_use]
    pub fn transcription(&self, module: &str) -> Transcription {
        Transcription::register(&self.store, &[("module", module.to_owned().into())])
    }

    /// Makes the handles for the speech of one module. Called once per module.
    #[must_use]
    pub fn speech(&self, module: &str) -> Speech {
        Speech::register(&self.store, &[("module", module.to_owned().into())])
    }

    /// Makes the handles of one graphics card. Called once per card.
    #[must_use]
    pub fn gpu(&self, index: u32) -> Gpu {
        Gpu::register(&self.store, &[("gpu", index.to_string().into())])
    }

    /// Publishes what was built. Called once.
    pub fn build_info(&self, labels: &[Pair]) {
        Gauge::register(&self.store, &BUILD_INFO, labels).set(1);
    }

    /// Publishes what a module loaded. Called once per module.
    pub fn model_info(&self, labels: &[Pair]) {
        Gauge::register(&self.store, &MODEL_INFO, labels).set(1);
    }

    /// Renders all metrics in the text format of Prometheus.
    #[must_use]
    pub fn render(&self) -> String {
        if let Some(legacy) = &self.legacy {
            legacy.refresh(&self.store);
        }
        exposition::render(&self.store)
    }
}
