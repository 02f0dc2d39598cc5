//! The batched pipeline: rows as entities, dense columns, plain systems, bounded links between stages.
//!
//! Sessions -> decode shards -> engine -> words -> outboxes. Each stage is a thread that owns its columns; messages are all
//! they share. Knows no sockets.

pub mod columns;
pub mod credits;
pub mod decode;
pub mod engine;
pub mod frame;
mod gauges;
pub mod links;
pub mod phase;
pub mod rows;
pub mod systems;
pub mod words;

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tokio::sync::mpsc;

use self::decode::stage::Decode;
use self::engine::{Engine, Heart, Unsupported};
use self::gauges::EngineGauges;
use self::links::Bounds;
use self::rows::Rows;
use self::words::{RowFree, Words};
use crate::model::StreamModel;
use crate::stream::text::Detokenize;
use crate::telemetry::Meters;
use crate::telemetry::metrics::Engine as EngineMeters;

/// How to run a pipeline.
#[derive(Clone, Copy, Debug)]
pub struct PipelineOptions {
    /// Whole frames a session may be ahead of the model.
    pub frames_ahead: usize,
    pub coalesce: Duration,
    /// Decoder threads.
    pub shards: usize,
}

/// A pipeline that could not be started.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Model(#[from] Unsupported),
    #[error("cannot start a thread: {0}")]
    Thread(#[from] io::Error),
}

/// How a stage's thread ended.
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
    /// Starts the threads of the pipeline `name`. `row_free` hears of each row whose lease is over, `ends` of each thread that ends.
    pub fn start(
        self,
        name: &str,
        model: Box<dyn StreamModel>,
        text: Arc<dyn Detokenize>,
        row_free: RowFree,
        ends: &mpsc::Sender<StageEnd>,
        (meters, engine_meters): (&Meters, &EngineMeters),
    ) -> Result<Pipeline, PipelineError> {
        let Self {
            bounds,
            options,
            ingress,
        } = self;
        Engine::check(model.spec())?;
        let heart = Arc::new(Heart::default());
        let (pcm_tx, pcm_rx) = links::pcm(bounds);
        let (step_tx, step_rx, first) = links::steps(bounds.rows, model.spec().pause_heads);
        let mut threads = Vec::with_capacity(options.shards + 2);
        let shards = ingress.len();
        for (i, input) in ingress.into_iter().enumerate() {
            // Unused blocks worth a second of every row; more in flight are freed when they come home.
            let pool = links::frame_pool(16 * bounds.rows.div_ceil(shards));
            let stage = Decode::new(bounds.rows, shards, pool, pcm_tx.clone(), meters.audio.clone());
            threads.push(spawn(name, &format!("decode-{i}"), ends, move || {
                stage.run(&input).map_err(|e| e.to_string())
            })?);
        }
        drop(pcm_tx);
        let words = Words::new(
            model.spec(),
            text,
            row_free,
            (meters.clone(), engine_meters.clone()),
        );
        let gauges = EngineGauges::new(meters.clone(), engine_meters.clone());
        let engine = Engine::new(
            model,
            bounds,
            options.coalesce,
            pcm_rx,
            (step_tx, first),
            (Arc::clone(&heart), gauges),
        );
        threads.push(spawn(name, "engine", ends, move || {
            engine.run().map_err(|e| e.to_string())
        })?);
        threads.push(spawn(name, "words", ends, move || {
            words.run(&step_rx);
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
        // Room was made for one end of every thread.
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
        let start = |stage, work: fn() -> Result<(), String>| spawn("asr", stage, &ends, work).unwrap();
        let threads = [
            start("decode-0", || Ok(())),
            start("engine", || Err("no more memory".to_owned())),
            start("words", || panic!("a defect")),
        ];
        for thread in threads {
            assert!(thread.thread().name().unwrap().starts_with("asr-"));
            thread.join().unwrap();
        }
        let mut heard = std::iter::from_fn(|| told.try_recv().ok())
            .map(|end| (end.pipeline, end.stage, end.failure))
            .collect::<Vec<_>>();
        heard.sort();
        let end = |stage: &str, failure: Option<&str>| {
            ("asr".to_owned(), stage.to_owned(), failure.map(str::to_owned))
        };
        let expected = [
            end("decode-0", None),
            end("engine", Some("no more memory")),
            end("words", Some("it panicked")),
        ];
        assert_eq!(heard, expected);
    }
}
