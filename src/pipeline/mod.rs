//! The batched pipeline: rows as entities, dense columns, plain systems, bounded links between stages.
//!
//! Sessions -> input stage -> engine -> output stage -> outboxes. Each stage is a thread that owns its columns; messages are
//! all they share. Knows no sockets and no wire.

pub mod bounds;
pub mod columns;
pub mod credits;
pub mod engine;
pub mod frame;
pub mod input;
pub mod links;
pub mod messages;
mod metrics;
pub mod outbox;
pub mod output;
pub mod phase;
pub mod rows;
pub mod speaking;
pub mod systems;
pub mod tick;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;

use self::bounds::Bounds;
use self::engine::{Engine, Heart, Unsupported};
use self::frame::{FramePool, SoundPool};
use self::input::stage::InputStage;
use self::metrics::EngineGauges;
use self::output::stage::{Assembly, OutputStage, RowFree};
use self::rows::Rows;
use crate::model::StreamModel;
use crate::stream::text::Vocabulary;
use crate::telemetry::Meters;
use crate::telemetry::catalogue::{EngineMeters, Speech, Transcription};

/// How to run a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct PipelineOptions {
    /// Whole frames a session may be ahead of the model.
    pub frames_ahead: usize,
    pub coalesce: Duration,
    /// Threads of the input stage.
    pub shards: usize,
}

/// Where a pipeline reports.
#[derive(Clone, Copy)]
pub struct PipelineMeters<'m> {
    pub all: &'m Meters,
    pub engine: &'m EngineMeters,
    pub kind: &'m KindMeters,
}

/// The series that only one kind of model has.
#[derive(Clone)]
pub enum KindMeters {
    Transcription(Transcription),
    Speech(Speech),
}

impl KindMeters {
    /// Makes the series of `module`, whose model has this vocabulary. Called once per module.
    #[must_use]
    pub fn register(meters: &Meters, module: &str, vocabulary: &Vocabulary) -> Self {
        match vocabulary {
            Vocabulary::Reads(_) => Self::Transcription(meters.transcription(module)),
            Vocabulary::Speaks(_) => Self::Speech(meters.speech(module)),
        }
    }
}

/// A pipeline that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Model(#[from] Unsupported),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
    #[error("the model's ports, its vocabulary and its metrics are those of different kinds")]
    Mismatch,
}

/// The report of a stage thread that ended.
#[derive(Debug)]
pub struct StageEnd {
    /// The name the pipeline was started with.
    pub pipeline: String,
    pub stage: String,
    /// Why it ended before its input did.
    pub failure: Option<String>,
}

/// A running pipeline. It ends, stage after stage, once [`Rows`] and all leases are dropped.
pub struct Pipeline {
    pub threads: Vec<JoinHandle<()>>,
    pub heart: Arc<Heart>,
}

/// Links of a pipeline, made before its threads so that sessions and stages can know each other.
pub struct Wiring {
    bounds: Bounds,
    options: PipelineOptions,
    ingress: Vec<links::IngressRx>,
}

/// Makes the links for `rows` rows. The first result gives out leases, the second becomes the pipeline.
#[must_use]
pub fn wire(rows: usize, options: PipelineOptions) -> (Rows, Wiring) {
    let bounds = Bounds::new(rows, options.frames_ahead);
    let (tx, ingress) = links::ingress(bounds, options.shards);
    (
        Rows::new(bounds, tx),
        Wiring {
            bounds,
            options,
            ingress,
        },
    )
}

/// The links without a pipeline behind them.
#[cfg(test)]
pub(crate) fn wire_for_test(rows: usize, options: PipelineOptions) -> (Rows, Vec<links::IngressRx>) {
    let (rows, wiring) = wire(rows, options);
    (rows, wiring.ingress)
}

impl Wiring {
    /// Starts the threads of the pipeline `name`. `row_free` is called with each row whose lease is over; each thread reports
    /// its exit to `ends`.
    ///
    /// # Errors
    /// The model takes frames of another length, or a thread cannot be started.
    pub fn start(
        self,
        name: &str,
        model: Box<dyn StreamModel>,
        text: Vocabulary,
        row_free: RowFree,
        ends: &mpsc::Sender<StageEnd>,
        meters: PipelineMeters<'_>,
    ) -> Result<Pipeline, PipelineError> {
        let Self {
            bounds,
            options,
            ingress,
        } = self;
        Engine::check(model.spec())?;
        let speaks = model.spec().ports.audio_out;
        let (assembly, tokenizer) = match (text, meters.kind.clone()) {
            (Vocabulary::Reads(text), KindMeters::Transcription(meters)) if !speaks => {
                (Assembly::Transcripts { text, meters }, None)
            }
            (Vocabulary::Speaks(tokenizer), KindMeters::Speech(meters)) if speaks => {
                // Keeps unused frames for about two seconds of every row.
                let sounds = SoundPool::new(32 * bounds.rows);
                (Assembly::Speech { sounds, meters }, Some(tokenizer))
            }
            _ => return Err(PipelineError::Mismatch),
        };
        let heart = Arc::new(Heart::default());
        let (pcm_tx, pcm_rx) = links::pcm(bounds);
        let (step_tx, step_rx, first) = links::steps(model.spec());
        let mut threads = Vec::with_capacity(options.shards + 2);
        let shards = ingress.len();
        for (i, input) in ingress.into_iter().enumerate() {
            // Keeps unused blocks for about a second of every row; further ones are freed when they come back.
            let pool = FramePool::new(16 * bounds.rows.div_ceil(shards));
            let stage = InputStage::new(
                bounds.rows,
                shards,
                pool,
                pcm_tx.clone(),
                tokenizer.clone(),
                meters.all.audio.clone(),
            );
            threads.push(spawn(name, &format!("in-{i}"), ends, move || {
                stage.run(&input).map_err(|e| e.to_string())
            })?);
        }
        let waker = pcm_tx.waker();
        drop(pcm_tx);
        let output = OutputStage::new(model.spec(), assembly, row_free, meters.all.clone());
        let gauges = EngineGauges::new(meters.all.clone(), meters.engine.clone());
        let engine = Engine::new(
            model,
            bounds,
            options.coalesce,
            (pcm_rx, waker),
            (step_tx, first),
            (Arc::clone(&heart), gauges),
        );
        threads.push(spawn(name, "engine", ends, move || {
            engine.run().map_err(|e| e.to_string())
        })?);
        threads.push(spawn(name, "out", ends, move || {
            output.run(&step_rx);
            Ok(())
        })?);
        Ok(Pipeline { threads, heart })
    }
}

fn spawn(
    pipeline: &str,
    stage: &str,
    ends: &mpsc::Sender<StageEnd>,
    work: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let ends = ends.clone();
    let name = format!("{pipeline}-{stage}");
    let (pipeline, stage) = (pipeline.to_owned(), stage.to_owned());
    thread::Builder::new().name(name).spawn(move || {
        let failure = match catch_unwind(AssertUnwindSafe(work)) {
            Ok(result) => result.err(),
            Err(_) => Some("it panicked".to_owned()),
        };
        // The channel has room for one message of each thread.
        let _ = ends.try_send(StageEnd {
            pipeline,
            stage,
            failure,
        });
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_of_a_thread_is_told_a_panic_too() {
        let (ends, mut told) = links::ends(3);
        let start = |stage, work: fn() -> Result<(), String>| spawn("module", stage, &ends, work).unwrap();
        let threads = [
            start("in-0", || Ok(())),
            start("engine", || Err("no more memory".to_owned())),
            start("out", || panic!("a defect")),
        ];
        for thread in threads {
            assert!(thread.thread().name().unwrap().starts_with("module-"));
            thread.join().unwrap();
        }
        let mut heard = std::iter::from_fn(|| told.try_recv().ok())
            .map(|end| (end.pipeline, end.stage, end.failure))
            .collect::<Vec<_>>();
        heard.sort();
        let end = |stage: &str, failure: Option<&str>| {
            ("module".to_owned(), stage.to_owned(), failure.map(str::to_owned))
        };
        let expected = [
            end("engine", Some("no more memory")),
            end("in-0", None),
            end("out", Some("it panicked")),
        ];
        assert_eq!(heard, expected);
    }
}
