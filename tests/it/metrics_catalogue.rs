//! A metric is in the catalogue, in the code, in the reference and on a dashboard, or it is not a metric.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use moshi_server::telemetry::catalogue::{CATALOGUE, INFOS};
use moshi_server::telemetry::{Metric, MetricKind, Unit, legacy};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn files(dir: &Path, extension: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, extension));
        } else if path.extension().is_some_and(|e| e == extension) {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn metrics() -> impl Iterator<Item = &'static Metric> {
    CATALOGUE.iter().flat_map(|area| area.metrics).chain(INFOS)
}

/// Every name that a query may use: those of series, and those of recording rules.
fn exported() -> BTreeSet<String> {
    let mut names: BTreeSet<String> = BTreeSet::from(["up".to_owned()]);
    for metric in metrics() {
        if metric.kind == MetricKind::Histogram {
            names.extend(["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)));
        } else {
            names.insert(metric.name.to_owned());
        }
    }
    let rules = fs::read_to_string(root().join("dashboards/prometheus/rules.yml")).unwrap();
    names.extend(
        rules
            .lines()
            .filter_map(|line| Some(line.trim().strip_prefix("- record: ")?.to_owned())),
    );
    names
}

/// Names in a query that look like ours: label values and functions do not.
fn names(query: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    // What stands in quotes is a value, but for names chosen by a pattern.
    for (i, part) in query.split('"').enumerate() {
        if i % 2 == 1 {
            continue;
        }
        let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
        for word in part.split(|c| !is_name(c)) {
            if word.starts_with("moshi") || word.starts_with("process_") || word == "up" {
                out.insert(word.to_owned());
            }
        }
    }
    out
}

fn dashboards() -> Vec<(String, serde_json::Value)> {
    let dir = root().join("dashboards/grafana/dashboards");
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        (
            path.file_name().unwrap().to_string_lossy().into_owned(),
            serde_json::from_str(&text).unwrap(),
        )
    };
    files(&dir, "json").into_iter().map(read).collect()
}

fn queries(page: &serde_json::Value) -> Vec<(String, String)> {
    let panels = page["panels"].as_array().unwrap();
    let of = |panel: &serde_json::Value| {
        let title = panel["title"].as_str().unwrap().to_owned();
        let targets = panel["targets"].as_array().unwrap().clone();
        targets
            .into_iter()
            .map(move |t| (title.clone(), t["expr"].as_str().unwrap().to_owned()))
    };
    panels.iter().flat_map(of).collect()
}

#[test]
fn panels_ask_only_for_what_is_exported_and_show_all_of_it() {
    let exported = exported();
    let mut shown = BTreeSet::new();
    for (file, page) in dashboards() {
        for (title, query) in queries(&page) {
            let used = names(&query);
            assert!(
                !used.is_empty() || query.contains("__name__"),
                "{file}, {title}: no metric in {query}"
            );
            for name in used {
                assert!(
                    exported.contains(&name),
                    "{file}, {title}: {name} is not exported"
                );
                shown.insert(name);
            }
        }
    }
    for metric in metrics() {
        let is_shown = shown.iter().any(|name| {
            name == metric.name
                || name.strip_prefix(metric.name).is_some_and(|rest| {
                    metric.kind == MetricKind::Histogram && ["_bucket", "_sum", "_count"].contains(&rest)
                })
        });
        assert_eq!(
            is_shown,
            metric.hidden.is_none(),
            "{}: shown on a panel or hidden with a reason, one of the two",
            metric.name
        );
    }
}

#[test]
fn alerts_and_rules_ask_only_for_what_is_exported() {
    let exported = exported();
    for file in ["rules.yml", "alerts.yml"] {
        let text = fs::read_to_string(root().join("dashboards/prometheus").join(file)).unwrap();
        let queries = text
            .lines()
            .filter(|line| !line.trim_start().starts_with(['#', '-']) && !line.contains("summary:"));
        for name in queries.flat_map(names) {
            // Names of groups begin with the same word.
            assert!(
                exported.contains(&name) || name == "moshi",
                "{file}: {name} is not exported"
            );
        }
    }
}

#[test]
fn every_metric_is_recorded_somewhere() {
    let code: String = files(&root().join("src"), "rs")
        .iter()
        .filter(|path| !path.ends_with("telemetry/catalogue/tests.rs"))
        // A call may be broken over lines.
        .map(|path| {
            fs::read_to_string(path)
                .unwrap()
                .split_whitespace()
                .collect::<String>()
        })
        .collect();
    for area in CATALOGUE {
        for (field, metric) in area.fields.iter().zip(area.metrics) {
            let used = [
                "record(",
                "increment(",
                "set(",
                "add(",
                "add_samples(",
                "absolute(",
                "set_total(",
                "of(",
                "clone(",
            ]
            .iter()
            .any(|call| code.contains(&format!(".{field}.{call}")));
            assert!(used, "{}: nothing records it", metric.name);
        }
    }
}

fn unit(unit: Unit) -> String {
    match unit {
        Unit::Of(noun) => noun.to_owned(),
        Unit::Timestamp => "seconds since 1970".to_owned(),
        Unit::State => "1 or 0".to_owned(),
        Unit::Info => "always 1".to_owned(),
        plain => format!("{plain:?}").to_lowercase(),
    }
}

fn row(page: &mut String, metric: &Metric, base: Option<&str>) {
    let mut labels: Vec<&str> = base.into_iter().collect();
    for (key, _) in (metric.labels)().into_iter().flatten() {
        if !labels.contains(&key) {
            labels.push(key);
        }
    }
    let kind = format!("{:?}", metric.kind).to_lowercase();
    let _ = writeln!(
        page,
        "| `{}` | {kind} | {} | {} | {} |",
        metric.name,
        unit(metric.unit),
        labels.join(", "),
        metric.help
    );
}

const HEAD: &str = "| name | kind | unit | labels | meaning |\n| --- | --- | --- | --- | --- |\n";

#[test]
fn the_reference_is_the_catalogue() {
    let mut page = "# Metrics\n\nServed as text for Prometheus at `/metrics` on the admin listener (127.0.0.1:9464 unless \
        configured). Made from the catalogue in `src/telemetry/catalogue.rs`; after a change there run\n\
        `UPDATE=1 cargo test --test it metrics_catalogue`.\n\nLabels only ever take the values listed below. Every series is there \
        at zero from the start, so `rate()` works from the first event on.\n"
        .to_owned();
    for area in CATALOGUE {
        let _ = write!(page, "\n## {}\n\n{HEAD}", area.title);
        area.metrics
            .iter()
            .for_each(|metric| row(&mut page, metric, area.base));
    }
    let _ = write!(page, "\n## Build and models\n\n{HEAD}");
    INFOS.iter().for_each(|metric| row(&mut page, metric, None));
    let _ = write!(
        page,
        "\n## Names of Kyutai's server\n\nWith `kyutai_metrics = true` in `[telemetry]`, beside the others:\n\n{HEAD}"
    );
    legacy::CATALOGUE
        .iter()
        .for_each(|metric| row(&mut page, metric, None));
    page.push_str("\n## Label values\n\n");
    let mut values: std::collections::BTreeMap<&str, Vec<String>> = Default::default();
    for (key, value) in metrics().flat_map(|metric| (metric.labels)()).flatten() {
        let list = values.entry(key).or_default();
        let value = format!("`{value}`");
        if !list.contains(&value) {
            list.push(value);
        }
    }
    for (key, list) in values {
        let _ = writeln!(page, "- **{key}**: {}", list.join(", "));
    }
    page.push_str("\n## Buckets\n\nUpper bounds, chosen so that each objective is one of them.\n\n");
    for metric in metrics().filter(|metric| metric.kind == MetricKind::Histogram) {
        let bounds: Vec<String> = metric.buckets.iter().map(f64::to_string).collect();
        let _ = writeln!(page, "- `{}`: {}", metric.name, bounds.join(", "));
    }
    let path = root().join("docs/metrics.md");
    if std::env::var_os("UPDATE").is_some() {
        fs::create_dir_all(root().join("docs")).unwrap();
        fs::write(&path, &page).unwrap();
    }
    let written = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        written == page,
        "docs/metrics.md is stale: UPDATE=1 cargo test --test it metrics_catalogue"
    );
}
