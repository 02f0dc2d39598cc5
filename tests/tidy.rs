//! Rules of the source that no compiler checks.

use std::fs;
use std::path::{Path, PathBuf};

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
    only_in("crossbeam_channel", &["pipeline/links.rs"]);
    only_in("fastwebsockets", &["net/", "client/"]);
    only_in("jsonwebtoken", &["auth/"]);
    only_in("safetensors", &["model/"]);
    only_in("symphonia", &["audio/"]);
    only_in("tokio::process", &["decoder/"]);
}

#[test]
fn queues_are_made_in_one_file() {
    // The command-line client reads files ahead through a queue of its own.
    only_in("mpsc::channel(", &["pipeline/links.rs", "cli/transcribe.rs"]);
    for (name, text) in files() {
        assert!(
            !text.contains("unbounded_channel"),
            "{name} makes an unbounded queue"
        );
    }
}

#[test]
fn layers_know_only_what_is_below_them() {
    let forbidden = [
        (
            "protocol/",
            &["crate::pipeline", "crate::session", "crate::net", "crate::model"][..],
        ),
        ("model/", &["crate::session", "crate::net"]),
        ("pipeline/", &["crate::session", "crate::net", "crate::auth"]),
        ("session/", &["crate::net", "crate::model"]),
        ("auth/", &["crate::pipeline", "crate::net", "crate::model"]),
    ];
    for (name, text) in files() {
        for (layer, above) in forbidden {
            let found = above
                .iter()
                .find(|above| name.starts_with(layer) && text.contains(**above));
            assert_eq!(found, None, "{name} knows what is above it");
        }
    }
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
