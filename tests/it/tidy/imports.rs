//! Who imports whom: the import graph of `src`, read from the syntax of every file.

use std::collections::{BTreeMap, BTreeSet};

use syn::visit::{self, Visit};

/// Modules by path (`["pipeline", "rows"]`), each with the file it stands in.
pub(super) struct Graph {
    /// File, relative to `src`, to the files whose items it names.
    pub(super) files: BTreeMap<String, BTreeSet<String>>,
}

/// The module path of a file below `src`.
fn module(file: &str) -> Vec<String> {
    let path = file.trim_end_matches(".rs").trim_end_matches("/mod");
    let path = if path == "lib" || path == "main" { "" } else { path };
    path.split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect()
}

/// The folder of a file below `src`: its first part.
pub(super) fn folder(file: &str) -> &str {
    file.split('/')
        .next()
        .map_or(file, |part| part.trim_end_matches(".rs"))
}

impl Graph {
    /// The graph of `files`, without their tests.
    pub(super) fn of(files: &[(String, String)]) -> Self {
        let is_test = |name: &str| name.ends_with("tests.rs") || name.contains("/tests/");
        let files: Vec<_> = files.iter().filter(|(name, _)| !is_test(name)).collect();
        let modules: BTreeMap<Vec<String>, &str> = files
            .iter()
            .map(|(name, _)| (module(name), name.as_str()))
            .collect();
        let edges = files.iter().map(|(name, text)| {
            let mut paths = Paths {
                here: module(name),
                depth: 0,
                found: Vec::new(),
            };
            paths.visit_file(&syn::parse_file(text).unwrap_or_else(|error| panic!("{name}: {error}")));
            let targets = paths.found.iter().filter_map(|path| resolve(&modules, path));
            let targets = targets.filter(|target| target != name).map(str::to_owned);
            (name.clone(), targets.collect())
        });
        Self {
            files: edges.collect(),
        }
    }

    /// Circles: sets of files that can all reach each other.
    pub(super) fn circles(&self) -> Vec<BTreeSet<&str>> {
        let reach: BTreeMap<&str, BTreeSet<&str>> = self
            .files
            .keys()
            .map(|file| (file.as_str(), self.reachable(file)))
            .collect();
        let mut circles: Vec<BTreeSet<&str>> = Vec::new();
        for (file, reached) in &reach {
            if !reached.contains(file) || circles.iter().any(|circle| circle.contains(file)) {
                continue;
            }
            circles.push(
                reached
                    .iter()
                    .copied()
                    .filter(|other| reach[other].contains(file))
                    .collect(),
            );
        }
        circles
    }

    fn reachable(&self, from: &str) -> BTreeSet<&str> {
        let (mut reached, mut left) = (BTreeSet::new(), vec![from]);
        while let Some(file) = left.pop() {
            for next in &self.files[file] {
                if reached.insert(next.as_str()) {
                    left.push(next);
                }
            }
        }
        reached
    }
}

/// The file of the longest part of `path` that is a module.
fn resolve<'m>(modules: &BTreeMap<Vec<String>, &'m str>, path: &[String]) -> Option<&'m str> {
    (1..=path.len())
        .rev()
        .find_map(|n| modules.get(&path[..n]).copied())
}

/// Collects paths into this crate, as parts from its root.
struct Paths {
    here: Vec<String>,
    /// Inline modules around the place that is visited.
    depth: usize,
    found: Vec<Vec<String>>,
}

impl Paths {
    fn add(&mut self, parts: &[String]) {
        let Some((first, rest)) = parts.split_first() else {
            return;
        };
        let mut base = match first.as_str() {
            "crate" => Vec::new(),
            "self" => self.here.clone(),
            "super" if self.depth > 0 => return,
            "super" => self.here[..self.here.len().saturating_sub(1)].to_vec(),
            _ => return,
        };
        for part in rest {
            if part == "super" {
                base.pop();
            } else {
                base.push(part.clone());
            }
        }
        self.found.push(base);
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.add(&before.clone());
                before.pop();
            }
            syn::UseTree::Rename(name) => {
                before.push(name.ident.to_string());
                self.add(&before.clone());
                before.pop();
            }
            syn::UseTree::Glob(_) => self.add(&before.clone()),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.tree(tree, before);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let test = item.attrs.iter().any(|attribute| {
            attribute.path().is_ident("cfg")
                && attribute
                    .parse_args::<syn::Ident>()
                    .is_ok_and(|condition| condition == "test")
        });
        if !test {
            self.depth += 1;
            visit::visit_item_mod(self, item);
            self.depth -= 1;
        }
    }

    // `pub(super)` names a place, and imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.add(&parts);
        visit::visit_path(self, path);
    }
}
