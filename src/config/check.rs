//! What serde cannot see: values that are well-formed and mean nothing, or nothing this server can run.

use std::collections::BTreeMap;

use crate::config::module::{AsrModule, TransformerConfig};
use crate::config::section::Document;
use crate::config::{Config, ModuleConfig};

/// Weight types of the language model.
pub const DTYPES: [&str; 4] = ["f32", "bf16", "f16", "q8_0"];

/// Types of its keys and values.
const CACHE_DTYPES: [&str; 3] = ["f32", "bf16", "fp8"];

/// Rows a module can have: they are numbered with 16 bits.
const MAX_ROWS: usize = 1 << 16;

/// Codebooks Mimi can give.
const MAX_CODEBOOKS: usize = 32;

pub(super) fn check(config: &Config, reserved: &[&str], document: &mut Document<'_>) {
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
        match module {
            ModuleConfig::BatchedAsr(asr) | ModuleConfig::Asr(asr) => check_asr(name, asr, document),
            ModuleConfig::Scripted(scripted) => {
                for (key, seconds) in [("step_s", scripted.step_s), ("row_s", scripted.row_s)] {
                    if !(0.0..=3600.0).contains(&seconds) {
                        let message = "must be a number of seconds from 0 to 3600".to_owned();
                        report(document, &["modules", name, key], message);
                    }
                }
            }
        }
    }
}

/// Reports a mistake unless serde had one at the same key: its repair would be judged, not the file.
fn report(document: &mut Document<'_>, path: &[&str], message: String) {
    if !document.is_bad(path) {
        document.mistake(path, message);
    }
}

fn check_origins(config: &Config, document: &mut Document<'_>) {
    for origin in &config.server.allowed_origins {
        let host = origin
            .strip_prefix("https://")
            .or_else(|| origin.strip_prefix("http://"));
        if host.is_none_or(|host| host.is_empty() || host.contains('/')) {
            let message = format!("`{origin}` is not an origin like https://app.example.org (no path)");
            report(document, &["server", "allowed_origins"], message);
        }
    }
}

fn check_keys(config: &Config, document: &mut Document<'_>) {
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
fn check_admin(config: &Config, document: &mut Document<'_>) {
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

fn check_paths(config: &Config, reserved: &[&str], document: &mut Document<'_>) {
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

fn check_asr(name: &str, asr: &AsrModule, document: &mut Document<'_>) {
    let mut wrong = |key: &str, message: String| {
        let mut path = vec!["modules", name];
        path.extend(key.split('.'));
        report(document, &path, message);
    };
    for (key, file) in [
        ("lm_model_file", &asr.lm_model_file),
        ("text_tokenizer_file", &asr.text_tokenizer_file),
        ("audio_tokenizer_file", &asr.audio_tokenizer_file),
    ] {
        if let Some(rest) = file.strip_prefix("hf://")
            && (rest.splitn(3, '/').count() < 3
                || rest.split('/').any(|part| part.is_empty() || part == ".."))
        {
            wrong(key, format!("`{file}` is not a name like hf://org/repo/file"));
        } else if file.is_empty() {
            wrong(key, "is empty".to_owned());
        }
    }
    if !asr.temperature.is_finite() || asr.temperature < 0.0 {
        wrong("temperature", "must be 0 (greedy) or more".to_owned());
    }
    if let Some(delay) = asr.conditioning_delay
        && !(0.0..=60.0).contains(&delay)
    {
        wrong(
            "conditioning_delay",
            "must be a number of seconds from 0 to 60".to_owned(),
        );
    }
    if let Some(dtype) = &asr.dtype_override
        && !DTYPES.contains(&dtype.as_str())
    {
        wrong(
            "dtype_override",
            format!("`{dtype}` is not one of {}", DTYPES.join(", ")),
        );
    }
    if let Some(dtype) = asr.kv_cache_dtype.as_deref()
        && !CACHE_DTYPES.contains(&dtype)
    {
        wrong(
            "kv_cache_dtype",
            format!("`{dtype}` is not one of {}", CACHE_DTYPES.join(", ")),
        );
    }
    let model = &asr.model;
    if !(1..=MAX_CODEBOOKS).contains(&model.audio_codebooks) {
        wrong(
            "model.audio_codebooks",
            format!("must be from 1 to {MAX_CODEBOOKS}"),
        );
    }
    for (key, size) in [
        ("model.audio_vocab_size", model.audio_vocab_size),
        ("model.text_in_vocab_size", model.text_in_vocab_size),
        ("model.text_out_vocab_size", model.text_out_vocab_size),
    ] {
        if size < 2 {
            wrong(key, "must be at least 2".to_owned());
        }
    }
    check_transformer(&model.transformer, &mut wrong);
}

fn check_transformer(shape: &TransformerConfig, wrong: &mut impl FnMut(&str, String)) {
    let at = |key: &str| format!("model.transformer.{key}");
    for (key, size) in [
        ("d_model", shape.d_model),
        ("num_heads", shape.num_heads),
        ("num_layers", shape.num_layers),
        ("dim_feedforward", shape.dim_feedforward),
        ("context", shape.context),
    ] {
        if size == 0 {
            wrong(&at(key), "must be at least 1".to_owned());
        }
    }
    if shape.num_heads > 0 && shape.d_model > 0 && !shape.d_model.is_multiple_of(2 * shape.num_heads) {
        let message = format!(
            "{} does not divide d_model = {} into heads of even size",
            shape.num_heads, shape.d_model
        );
        wrong(&at("num_heads"), message);
    }
    if !shape.max_period.is_finite() || shape.max_period <= 1.0 {
        wrong(&at("max_period"), "must be more than 1".to_owned());
    }
    for (key, value, only) in [
        ("gating", shape.gating.as_deref().unwrap_or_default(), "silu"),
        ("norm", shape.norm.as_str(), "RmsNorm"),
        (
            "positional_embedding",
            shape.positional_embedding.as_str(),
            "Rope",
        ),
    ] {
        if value != only {
            wrong(&at(key), format!("only \"{only}\" is supported"));
        }
    }
    for (key, value, only) in [
        ("causal", shape.causal, true),
        ("norm_first", shape.norm_first, true),
        ("bias_ff", shape.bias_ff, false),
        ("bias_attn", shape.bias_attn, false),
        ("use_conv_block", shape.use_conv_block, false),
    ] {
        if value != only {
            wrong(&at(key), format!("only {only} is supported"));
        }
    }
    if shape.kv_repeat != 1 {
        wrong(&at("kv_repeat"), "only 1 is supported".to_owned());
    }
}
