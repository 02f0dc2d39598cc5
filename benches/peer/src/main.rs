//! Our model step beside that of Kyutai's `moshi` crate, on the same random checkpoint and audio in one run.
//!
//! ```sh
//! cargo run --release --manifest-path benches/peer/Cargo.toml -- scaled-down stt-1b
//! ```
//! Steps of the two alternate, so that whatever else the machine does falls on both; medians are printed.

#[path = "../../support/mod.rs"]
mod support;

mod peer;

use std::path::Path;
use std::time::{Duration, Instant};

use clap::Parser;
use moshi_server::model::device::Device;
use moshi_server::model::{LoadOptions, Loaded, Part, StepIo, StepOutput, load};
use moshi_server::stream::ids::RowId;
use support::LmSize;

// Both sides get the allocator that the server runs with.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Compares model steps with the moshi crate's.
#[derive(Parser)]
struct Options {
    /// Shapes: scaled-down, stt-1b, stt-2.6b.
    #[arg(default_value = "scaled-down")]
    shapes: Vec<String>,
    /// Active rows of all rows.
    #[arg(long, value_delimiter = ',', default_value = "1/1,4/4,4/16,16/16")]
    rows: Vec<String>,
    /// Types of the language model's weights that both sides know.
    #[arg(long, value_delimiter = ',', default_value = "f32")]
    dtype: Vec<String>,
    /// Timed steps.
    #[arg(long, default_value_t = 20)]
    steps: usize,
    /// Steps before them, which fill the caches.
    #[arg(long, default_value_t = 64)]
    fill: usize,
    /// Threads of either side, on the CPU.
    #[arg(long)]
    threads: Option<usize>,
    /// Where both sides compute: cpu, or cuda:N in a build with the feature cuda (scripts/peer-cuda).
    #[arg(long, default_value = "cpu")]
    device: Device,
}

/// Time of one step by stage.
#[derive(Clone, Copy)]
pub struct Cost {
    pub codec: Duration,
    pub lm: Duration,
}

fn main() {
    let options = Options::parse();
    let threads = options
        .threads
        .unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    // SAFETY: no thread has been started yet.
    unsafe { std::env::set_var("RAYON_NUM_THREADS", threads.to_string()) };
    println!(
        "Medians of {} steps after {} others on {}, {threads} threads; milliseconds, ours / moshi 0.6.4, and how many times faster ours is.\n",
        options.steps, options.fill, options.device
    );
    println!("| shape | weights | active/rows | Mimi encode | LM step | whole step |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for size in [support::SMALL, support::STT_1B, support::STT_2_6B] {
        if !options.shapes.iter().any(|s| s == size.name) {
            continue;
        }
        for dtype in &options.dtype {
            for rows in &options.rows {
                let (active, all) = rows.split_once('/').expect("--rows has active/all");
                let (active, all) = (active.parse().expect("a number"), all.parse().expect("a number"));
                compare(&size, dtype, active, all, threads, &options);
            }
        }
    }
}

fn compare(size: &LmSize, dtype: &str, active: usize, rows: usize, threads: usize, options: &Options) {
    let dir = std::env::temp_dir().join(format!("moshi-bench-{}", size.name));
    let mut ours = Ours::load(&dir, size, dtype, active, rows, (threads, options.device));
    let mut theirs = peer::Peer::load(&dir, size, dtype, (active, rows), options.device);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    let pcm = support::audio(options.fill + options.steps, 1);
    for (i, frame) in pcm.chunks(1920).enumerate() {
        let (x, y) = (ours.step(frame), theirs.step(frame));
        if i >= options.fill {
            a.push(x);
            b.push(y);
        }
    }
    let cell = |of: fn(&Cost) -> Duration| {
        let (x, y) = (median(&a, of), median(&b, of));
        format!("{x:.1} / {y:.1}: **{:.1}×**", y / x)
    };
    println!(
        "| {} | {dtype} | {active}/{rows} | {} | {} | {} |",
        size.name,
        cell(|c| c.codec),
        cell(|c| c.lm),
        cell(|c| c.codec + c.lm)
    );
}

fn median(costs: &[Cost], of: fn(&Cost) -> Duration) -> f64 {
    let mut all: Vec<f64> = costs.iter().map(|c| of(c).as_secs_f64() * 1e3).collect();
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// This project's engine.
struct Ours {
    loaded: Loaded,
    ids: Vec<RowId>,
    out: StepOutput,
}

impl Ours {
    fn load(
        dir: &Path,
        size: &LmSize,
        dtype: &str,
        active: usize,
        rows: usize,
        (threads, device): (usize, Device),
    ) -> Self {
        let config = support::checkpoint(dir, size, dtype);
        let options = LoadOptions {
            rows,
            threads,
            device,
        };
        Self {
            loaded: load(&config, options).expect("our engine loads the checkpoint"),
            ids: (0..active).map(|i| RowId(i as u16)).collect(),
            out: StepOutput::default(),
        }
    }

    /// Every active row hears `frame`.
    fn step(&mut self, frame: &[f32]) -> Cost {
        let pcm = frame.repeat(self.ids.len());
        let out = &mut self.out;
        let begun = Instant::now();
        let io = &mut StepIo {
            rows: &self.ids,
            audio: &pcm,
            out,
        };
        self.loaded.model.step(io).expect("our engine steps");
        let took = begun.elapsed();
        let codec = self.out.parts.of(Part::MimiEncoder);
        Cost {
            codec,
            lm: took - codec,
        }
    }
}
