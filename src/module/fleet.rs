//! The pipelines of the process: one for each module and device. Starts them, watches them, and decides what a failed one
//! takes with it.
//!
//! A failed device ends its own sessions. Those on other devices of the module do not notice, and new ones go there; only
//! a module that has lost its last device fails the process.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval, sleep, timeout};

use crate::auth::Scope;
use crate::model::StreamModel;
use crate::net::{Module, ModuleInfo};
use crate::pipeline::engine::Heart;
use crate::pipeline::{self, KindMeters, PipelineError, PipelineMeters, PipelineOptions, StageEnd, links};
use crate::protocol::dialect::OpenDialect;
use crate::session::admission::Admission;
use crate::stream::text::Vocabulary;
use crate::stream::voice::Voices;
use crate::telemetry::Meters;
use crate::telemetry::labels::EngineFault;

/// How often engines are asked whether their step hangs.
const PULSE: Duration = Duration::from_millis(250);
/// How often stages that do not end are named.
const REPORT: Duration = Duration::from_secs(5);
/// Time for the stages to end once nothing feeds them.
const JOIN: Duration = Duration::from_secs(15);

/// A model with the device that computes it.
pub struct Placed {
    /// For people: `cpu`, `cuda:1`.
    pub device: String,
    pub model: Box<dyn StreamModel>,
}

/// A module, loaded.
pub struct LoadedModule {
    pub name: String,
    pub path: String,
    pub dialect: OpenDialect,
    /// What a credential must allow to use it.
    pub scope: Scope,
    pub info: ModuleInfo,
    /// The same checkpoint on each device; at least one.
    pub models: Vec<Placed>,
    pub text: Vocabulary,
    /// Of a model that speaks.
    pub voices: Option<Arc<dyn Voices>>,
}

/// One pipeline.
struct Member {
    /// The module's name; where it has several devices, the device's too.
    name: String,
    module: Arc<Module>,
    device: usize,
    heart: Arc<Heart>,
    threads: Vec<JoinHandle<()>>,
    lost: bool,
}

/// All pipelines.
pub struct Fleet {
    members: Vec<Member>,
    ends: mpsc::Receiver<StageEnd>,
    pulse: Interval,
}

/// A module whose pipelines cannot be started.
#[derive(Debug, thiserror::Error)]
#[error("module {name}")]
pub struct StartError {
    name: String,
    source: PipelineError,
}

impl Fleet {
    /// Starts the pipelines of `modules`. Nothing is loaded here.
    ///
    /// # Errors
    /// A thread cannot be started, or a model cannot be fed.
    pub fn start(
        modules: Vec<LoadedModule>,
        options: PipelineOptions,
        queue_len: usize,
        meters: &Meters,
    ) -> Result<(Self, Vec<Arc<Module>>), StartError> {
        let pipelines: usize = modules.iter().map(|module| module.models.len()).sum();
        let (ends_tx, ends) = links::ends(pipelines * (options.shards + 2));
        let (mut members, mut served) = (Vec::new(), Vec::new());
        for module in modules {
            let name = module.name.clone();
            let module = start_module(module, options, queue_len, meters, &ends_tx, &mut members)
                .map_err(|source| StartError { name, source })?;
            served.push(module);
        }
        let mut pulse = interval(PULSE);
        pulse.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Ok((Self { members, ends, pulse }, served))
    }

    /// Watches the pipelines until a module has lost its last device, and says why. Safe to cancel.
    pub async fn watch(&mut self, step_timeout: Duration) -> String {
        loop {
            let (at, why, fault) = tokio::select! {
                Some(end) = self.ends.recv() => {
                    let why = end.failure.unwrap_or_else(|| "it ended".to_owned());
                    let at = self.members.iter().position(|member| member.name == end.pipeline);
                    (at, format!("{}-{}: {why}", end.pipeline, end.stage), EngineFault::Stage)
                }
                _ = self.pulse.tick() => {
                    let hangs = |m: &Member| !m.lost && m.heart.busy_for() > step_timeout;
                    let why = format!("a model step takes longer than {} s", step_timeout.as_secs_f64());
                    (self.members.iter().position(hangs), why, EngineFault::Hung)
                }
            };
            let Some(member) = at.map(|at| &mut self.members[at]) else {
                continue;
            };
            // The other stages of a pipeline end after the first.
            if std::mem::replace(&mut member.lost, true) {
                continue;
            }
            member.module.meters.faults.of(fault).increment(1);
            let left = member.module.admission.lose(member.device);
            if left == 0 {
                return why;
            }
            tracing::error!(
                pipeline = member.name,
                failure = why,
                devices_left = left,
                rows_left = member.module.admission.total(),
                "a device is lost: its sessions end, the others go on; restart the process to recover the device"
            );
        }
    }

    /// Waits for all stages to end, once nothing feeds them. False where one failed or does not end. A pipeline that was
    /// lost before is not waited for: its step may hang for ever.
    pub async fn join(mut self) -> bool {
        self.members.retain(|member| !member.lost);
        let deadline = Instant::now() + JOIN;
        let mut fine = true;
        loop {
            let threads = self.members.iter().flat_map(|member| &member.threads);
            let running: Vec<_> = threads.filter(|thread| !thread.is_finished()).collect();
            if running.is_empty() {
                return fine;
            }
            match timeout(REPORT.min(deadline - Instant::now()), self.ends.recv()).await {
                Ok(Some(end)) => {
                    let ours = self.members.iter().any(|member| member.name == end.pipeline);
                    fine &= !(ours && end.failure.is_some());
                }
                Ok(None) => sleep(Duration::from_millis(1)).await,
                Err(_) => {
                    let names: Vec<_> = running.iter().filter_map(|t| t.thread().name()).collect();
                    tracing::warn!(stages = names.join(", "), "still waiting");
                    if Instant::now() >= deadline {
                        return false;
                    }
                }
            }
        }
    }
}

fn start_module(
    module: LoadedModule,
    options: PipelineOptions,
    queue_len: usize,
    meters: &Meters,
    ends: &mpsc::Sender<StageEnd>,
    members: &mut Vec<Member>,
) -> Result<Arc<Module>, PipelineError> {
    let LoadedModule {
        name,
        path,
        dialect,
        scope,
        info,
        models,
        text,
        voices,
    } = module;
    let engine = meters.engine(&name);
    let kind = KindMeters::register(meters, &name, &text);
    publish(&name, &info, &models, meters);
    let (rows, wirings): (Vec<_>, Vec<_>) = models
        .iter()
        .map(|placed| pipeline::wire(placed.model.spec().rows, options))
        .unzip();
    let text_delay = models.first().map_or(0, |placed| placed.model.spec().text_delay);
    let admission = Arc::new(Admission::new(rows, queue_len));
    let served = Arc::new(Module {
        name,
        path,
        dialect,
        text_delay,
        scope,
        admission,
        info,
        voices,
        meters: engine,
    });
    let several = models.len() > 1;
    for (device, (placed, wiring)) in models.into_iter().zip(wirings).enumerate() {
        let name = if several {
            format!("{}@{}", served.name, placed.device)
        } else {
            served.name.clone()
        };
        let admission = Arc::clone(&served.admission);
        let row_free = Box::new(move |key| admission.row_free(device, key));
        let meters = PipelineMeters {
            all: meters,
            engine: &served.meters,
            kind: &kind,
        };
        let running = wiring.start(&name, placed.model, text.clone(), row_free, ends, meters)?;
        members.push(Member {
            name,
            module: Arc::clone(&served),
            device,
            heart: running.heart,
            threads: running.threads,
            lost: false,
        });
    }
    Ok(served)
}

// All devices of a module have the same checkpoint, so the first speaks for them.
fn publish(name: &str, info: &ModuleInfo, models: &[Placed], meters: &Meters) {
    let Some(spec) = models.first().map(|placed| placed.model.spec()) else {
        return;
    };
    meters.model_info(&[
        ("module", name.to_owned().into()),
        ("kind", info.kind.into()),
        ("delay_frames", spec.text_delay.to_string().into()),
        ("pause_heads", spec.pause_heads.to_string().into()),
        ("bytes_per_row", spec.bytes_per_row.to_string().into()),
    ]);
}
