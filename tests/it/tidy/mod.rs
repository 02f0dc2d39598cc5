//! Rules of the source that no compiler checks.

mod functions;
mod imports;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use self::functions::functions;
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
    only_in("safetensors::", &["model/"]);
    only_in("symphonia", &["audio/"]);
    only_in("tokio::process", &["decoder/"]);
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
const LAYERS: [&str; 20] = [
    "stream",
    "clock",
    "open_files",
    "shutdown",
    "audio",
    "protocol",
    "auth",
    "config",
    "model",
    "telemetry",
    "decoder",
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

#[test]
fn the_architecture_shows_the_folders_in_their_order() {
    let text = include_str!("../../../ARCHITECTURE.md");
    let map = text
        .split("## Code map")
        .nth(1)
        .and_then(|rest| rest.split("## ").next())
        .unwrap();
    let rows = map.lines().filter_map(|line| line.strip_prefix("| `"));
    let first = rows.filter_map(|line| line.split('|').next());
    let shown: Vec<String> = first
        .flat_map(|cell| {
            cell.split(',')
                .map(|name| name.replace(['`', '/', ' '], "").replace(".rs", ""))
        })
        .collect();
    assert_eq!(shown, LAYERS);
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
    let mut lines: Vec<(usize, String)> = files()
        .into_iter()
        .map(|(name, text)| (text.lines().count(), name))
        .collect();
    lines.sort();
    let (median, p90) = (&lines[lines.len() / 2], &lines[lines.len() * 9 / 10]);
    let longest = lines.last().unwrap();
    assert!(longest.0 <= 400, "{} has {} lines", longest.1, longest.0);
    assert!(
        median.0 <= 149,
        "half of all files have more than {} lines",
        median.0
    );
    assert!(p90.0 <= 300, "a tenth of all files has more than {} lines", p90.0);
}

#[test]
fn functions_are_short() {
    let functions = functions(&files());
    let longest = functions.iter().max_by_key(|function| function.lines).unwrap();
    assert!(
        longest.lines <= 100,
        "{} {} has {} lines",
        longest.at,
        longest.name,
        longest.lines
    );
}

#[test]
fn public_functions_say_what_their_errors_are() {
    let silent: Vec<String> = functions(&files())
        .into_iter()
        .filter(|f| f.is_public && f.returns_result && !f.docs.contains("# Errors"))
        .map(|f| format!("{} {}", f.at, f.name))
        .collect();
    assert!(silent.is_empty(), "no `# Errors` section: {silent:#?}");
}

/// The kinds of module, by the words that name them, and where they may be named.
const KINDS: [&str; 5] = ["asr", "stt", "tts", "dialogue", "scripted"];

#[test]
fn only_the_files_of_a_kind_name_it() {
    for (name, text) in files() {
        let blind = ["pipeline", "session", "net", "auth", "stream"].contains(&folder(&name));
        if !blind || name.contains("test") {
            continue;
        }
        let text = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .to_lowercase();
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        let found = words.find(|word| KINDS.contains(word));
        assert_eq!(found, None, "{name} names a kind of module");
    }
}
