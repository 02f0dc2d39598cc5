//! What one model step costs on GPU 0, by rows: the published shapes with random weights, every row at full context.
//!
//! `cargo bench --features cuda --bench gpu_step` needs a GPU (docs/gpu.md). Without one it says so and measures nothing.
//! `moshi-server gpu-check` measures the same steps with percentiles and the time of each stage.

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use moshi_server::model::cuda::check::Stand;

fn step(c: &mut Criterion) {
    for name in Stand::names() {
        let mut stand = match Stand::open(name) {
            Ok(stand) => stand,
            Err(e) => {
                println!("{name} is not measured, which needs a GPU: {e:#}");
                continue;
            }
        };
        let mut group = c.benchmark_group(name);
        group
            .sample_size(20)
            .warm_up_time(Duration::from_secs(1))
            .measurement_time(Duration::from_secs(5));
        for rows in stand.sizes().to_vec() {
            stand.take(rows);
            group.throughput(Throughput::Elements(rows as u64));
            group.bench_function(BenchmarkId::from_parameter(rows), |b| {
                b.iter(|| stand.step().expect("the device steps"));
            });
        }
        group.finish();
    }
}

criterion_group!(benches, step);
criterion_main!(benches);
