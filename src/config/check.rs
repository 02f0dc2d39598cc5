//! What serde cannot see: values that are well-formed and mean nothing, or nothing this server can run.

use std::collections::BTreeMap;

use super::Config;
use super::kind::{self, ModuleTable};
use super::section::Document;
use crate::auth::Origins;

/// Rows a module can have: they are numbered with 16 bits.
const MAX_ROWS: usize = 1 << 16;

pub(super) fn check<M: ModuleTable>(config: &Config<M>, reserved: &[&str], document: &mut Document<'_>) {
    for (key, message) in config.limits.mistakes() {
        report(document, &["limits", key], message);
    }
    if config.server.model_threads == Some(0) {
        report(
            document,
            &["server", "model_threads"],
            "must be at least 1".to_owned(),
        );
    }
    check_origins(config, document);
    check_keys(config, document);
    check_admin(config, document);
    check_paths(config, reserved, document);
    for (name, module) in &config.modules {
        let rows = module.rows();
        if rows == 0 || rows > MAX_ROWS {
            let message = format!("must be from 1 to {MAX_ROWS}, and is {rows}");
            report(document, &["modules", name, "batch_size"], message);
        }
        kind::check(name, module, document);
    }
}

/// Reports a mistake unless serde had one at the same key: its repair would be judged, not the file.
fn report(document: &mut Document<'_>, path: &[&str], message: String) {
    if !document.is_bad(path) {
        document.mistake(path, message);
    }
}

fn check_origins<M>(config: &Config<M>, document: &mut Document<'_>) {
    for origin in &config.server.allowed_origins {
        if let Err(error) = Origins::check_spelling(origin) {
            report(document, &["server", "allowed_origins"], error.to_string());
        }
    }
}

fn check_keys<M>(config: &Config<M>, document: &mut Document<'_>) {
    if config.authorized_ids.iter().any(String::is_empty) {
        report(
            document,
            &["authorized_ids"],
            "holds an empty key, which would let everybody in".to_owned(),
        );
    }
    if config.authorized_ids.iter().any(|id| id == "public_token") {
        let message =
            "holds `public_token`, the published key that everybody knows; use one of your own".to_owned();
        document.warn(&["authorized_ids"], message);
    }
}

/// Off loopback the operator's routes ask for a key that only a key file can hold.
fn check_admin<M>(config: &Config<M>, document: &mut Document<'_>) {
    let away = config
        .server
        .admin_addr
        .filter(|address| !address.ip().to_canonical().is_loopback());
    if away.is_some() && config.auth.key_file.is_none() {
        let message = "is not a loopback address: there /metrics and /sessions ask for an API key with the scope `admin`, and without \
                       auth.key_file nobody has one; make it with `moshi-server keys create NAME --scope admin`"
            .to_owned();
        document.warn(&["server", "admin_addr"], message);
    }
}

fn check_paths<M: ModuleTable>(config: &Config<M>, reserved: &[&str], document: &mut Document<'_>) {
    let mut seen = BTreeMap::new();
    for (name, module) in &config.modules {
        let path = module.path();
        let key = ["modules", name.as_str(), "path"];
        let pattern = |part: &str| part.starts_with([':', '*']);
        if !path.starts_with('/') || path.contains(['?', '#', '{', '}']) || path.split('/').any(pattern) {
            report(
                document,
                &key,
                format!("`{path}` is not a path like /api/asr-streaming"),
            );
        }
        if reserved.contains(&path) {
            report(
                document,
                &key,
                format!("`{path}` is a route of the server itself"),
            );
        }
        if let Some(other) = seen.insert(path, name) {
            report(
                document,
                &key,
                format!("`{path}` is the path of [modules.{other}] already"),
            );
        }
    }
}
