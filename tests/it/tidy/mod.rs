//! Rules of the source that no compiler checks.

mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::imports::{Graph, folder};

fn sources(dir: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|e| e == "rs") {
            into.push(path);
        }
    }
}

/// Files of `src` as `(path below src, text)`.
fn files() -> Vec<(String, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&root, &mut paths);
    let name = |path: &PathBuf| path.strip_prefix(&root).unwrap().display().to_string();
    paths
        .iter()
        .map(|path| (name(path), fs::read_to_string(path).unwrap()))
        .collect()
}

/// `needle` occurs only in files whose path starts with one of `homes`.
fn only_in(needle: &str, homes: &[&str]) {
    let files = files();
    assert!(
        files.iter().any(|(_, text)| text.contains(needle)),
        "nothing uses {needle}"
    );
    for (name, text) in &files {
        let at_home = homes.iter().any(|home| name.starts_with(home)) || name.contains("test");
        assert!(
            at_home || !text.contains(needle),
            "{name} uses {needle}, which belongs in {homes:?}"
        );
    }
}

#[test]
fn each_library_has_its_place() {
    only_in("crossbeam_channel", &["pipeline/links/"]);
    only_in("fastwebsockets", &["net/", "client/"]);
    only_in("jsonwebtoken", &["auth/"]);
    only_in("safetensors", &["model/"]);
    only_in("symphonia", &["audio/"]);
}

#[test]
fn queues_are_made_in_one_file() {
    // The command-line client reads files ahead through a queue of its own.
    only_in("mpsc::channel(", &["pipeline/links/", "cli/transcribe.rs"]);
    for (name, text) in files() {
        assert!(
            !text.contains("unbounded_channel"),
            "{name} makes an unbounded queue"
        );
    }
}

/// The folders of `src` from the ground up: each may import those before it.
const LAYERS: [&str; 19] = [
    "stream",
    "clock",
    "shutdown",
    "audio",
    "protocol",
    "config",
    "model",
    "auth",
    "telemetry",
    "pipeline",
    "session",
    "captions",
    "net",
    "module",
    "client",
    "load",
    "app",
    "cli",
];

#[test]
fn folders_import_only_what_is_below_them() {
    let layer = |name: &str| LAYERS.iter().position(|layer| *layer == name);
    for (file, imports) in &Graph::of(&files()).files {
        let Some(here) = layer(folder(file)) else {
            assert!(
                ["lib", "main"].contains(&folder(file)),
                "{file} stands in no layer"
            );
            continue;
        };
        for import in imports.iter().filter(|import| folder(import) != folder(file)) {
            let there = layer(folder(import));
            assert!(there < Some(here), "{file} imports {import}, which is above it");
        }
    }
}

/// Circles of files that are left, each with its reason.
const CIRCLES: [(&[&str], &str); 0] = [];

#[test]
fn files_import_each_other_in_no_circle() {
    let graph_of = files();
    let graph = Graph::of(&graph_of);
    let known = |circle: &BTreeSet<&str>| {
        CIRCLES
            .iter()
            .any(|(files, _)| files.iter().all(|f| circle.contains(f)))
    };
    let circles: Vec<_> = graph
        .circles()
        .into_iter()
        .filter(|circle| !known(circle))
        .collect();
    assert!(circles.is_empty(), "files that import each other: {circles:#?}");
}

#[test]
fn files_are_short() {
    for (name, text) in files() {
        assert!(
            text.lines().count() <= 400,
            "{name} has {} lines",
            text.lines().count()
        );
    }
}
