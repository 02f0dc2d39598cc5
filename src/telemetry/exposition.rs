//! The text that Prometheus reads. Lines are written by the exporter's own formatter, so escaping is not ours.

use std::collections::HashMap;
use std::sync::atomic::Ordering::Relaxed;

use metrics_exporter_prometheus::LabelSet;
use metrics_exporter_prometheus::formatting::{write_help_line, write_metric_line, write_type_line};

use super::instrument::{Buckets, Cell, MetricKind, Series, Store};

/// What `/metrics` has to say about its form.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes every series, metric by metric.
pub(super) fn render(store: &Store) -> String {
    let mut order: Vec<&'static str> = Vec::new();
    let mut texts: HashMap<&'static str, String> = HashMap::new();
    store.each(|series| {
        let metric = series.metric;
        let text = texts.entry(metric.name).or_insert_with(|| {
            order.push(metric.name);
            let mut text = String::new();
            write_help_line(&mut text, metric.name, None, None, metric.help);
            let kind = match metric.kind {
                MetricKind::Counter => "counter",
                MetricKind::Gauge => "gauge",
                MetricKind::Histogram => "histogram",
            };
            write_type_line(&mut text, metric.name, None, None, kind);
            text
        });
        write_series(text, series);
    });
    order.iter().map(|name| texts[name].as_str()).collect()
}

fn write_series(text: &mut String, series: &Series) {
    let labels = LabelSet::from_key_and_global(&series.key, &Default::default());
    let name = series.metric.name;
    let mut line = |value: f64| write_metric_line::<&str, f64>(text, name, None, &labels, None, value, None);
    match &series.cell {
        Cell::Counter(cell) => line(cell.load(Relaxed) as f64),
        Cell::SecondsCounter(cell) => line(cell.load(Relaxed) as f64 / 1e6),
        Cell::Gauge(cell) => line(f64::from_bits(cell.load(Relaxed))),
        Cell::Histogram(buckets) => write_histogram(text, name, &labels, buckets),
    }
}

fn write_histogram(text: &mut String, name: &str, labels: &LabelSet, buckets: &Buckets) {
    // The count is the sum of the buckets, so that the lines of one scrape agree even while others record.
    let mut count = 0;
    for (i, cell) in buckets.counts.iter().enumerate() {
        count += cell.load(Relaxed);
        let bound = buckets
            .bounds
            .get(i)
            .map_or_else(|| "+Inf".to_owned(), f64::to_string);
        write_metric_line(
            text,
            name,
            Some("bucket"),
            labels,
            Some(("le", bound)),
            count,
            None,
        );
    }
    write_metric_line::<&str, f64>(text, name, Some("sum"), labels, None, buckets.sum(), None);
    write_metric_line::<&str, u64>(text, name, Some("count"), labels, None, count, None);
}
