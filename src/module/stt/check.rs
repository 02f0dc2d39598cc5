//! Values that are well-formed and mean nothing, or nothing this server can run.

use super::SttModule;
use crate::config::kind::Checks;
use crate::model::layout::dtype::{KvFormat, WeightFormat};
use crate::model::layout::lm::TransformerConfig;

/// Codebooks Mimi can give.
const MAX_CODEBOOKS: usize = 32;

pub(super) fn check(module: &SttModule, checks: &mut Checks<'_, '_>) {
    check_files(module, checks);
    if !module.temperature.is_finite() || module.temperature < 0.0 {
        checks.wrong("temperature", "must be 0 (greedy) or more");
    }
    if let Some(delay) = module.conditioning_delay
        && !(0.0..=60.0).contains(&delay)
    {
        checks.wrong("conditioning_delay", "must be a number of seconds from 0 to 60");
    }
    for (key, format, formats) in [
        (
            "dtype_override",
            &module.dtype_override,
            WeightFormat::NAMES.as_slice(),
        ),
        (
            "kv_cache_dtype",
            &module.kv_cache_dtype,
            KvFormat::NAMES.as_slice(),
        ),
    ] {
        if let Some(format) = format.as_deref().filter(|format| !formats.contains(format)) {
            checks.wrong(key, format!("`{format}` is not one of {}", formats.join(", ")));
        }
    }
    let model = &module.model;
    if !(1..=MAX_CODEBOOKS).contains(&model.audio_codebooks) {
        checks.wrong(
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
            checks.wrong(key, "must be at least 2");
        }
    }
    check_transformer(&model.transformer, checks);
}

fn check_files(module: &SttModule, checks: &mut Checks<'_, '_>) {
    for (key, file) in [
        ("lm_model_file", &module.lm_model_file),
        ("text_tokenizer_file", &module.text_tokenizer_file),
        ("audio_tokenizer_file", &module.audio_tokenizer_file),
    ] {
        if let Some(rest) = file.strip_prefix("hf://")
            && (rest.splitn(3, '/').count() < 3
                || rest.split('/').any(|part| part.is_empty() || part == ".."))
        {
            checks.wrong(key, format!("`{file}` is not a name like hf://org/repo/file"));
        } else if file.is_empty() {
            checks.wrong(key, "is empty");
        }
    }
}

fn check_transformer(shape: &TransformerConfig, checks: &mut Checks<'_, '_>) {
    let at = |key: &str| format!("model.transformer.{key}");
    for (key, size) in [
        ("d_model", shape.d_model),
        ("num_heads", shape.num_heads),
        ("num_layers", shape.num_layers),
        ("dim_feedforward", shape.dim_feedforward),
        ("context", shape.context),
    ] {
        if size == 0 {
            checks.wrong(&at(key), "must be at least 1");
        }
    }
    if shape.num_heads > 0 && shape.d_model > 0 && !shape.d_model.is_multiple_of(2 * shape.num_heads) {
        let message = format!(
            "{} does not divide d_model = {} into heads of even size",
            shape.num_heads, shape.d_model
        );
        checks.wrong(&at("num_heads"), message);
    }
    if !shape.max_period.is_finite() || shape.max_period <= 1.0 {
        checks.wrong(&at("max_period"), "must be more than 1");
    }
    let gating = shape.gating.as_deref().unwrap_or_default();
    for (key, value, only) in [
        ("gating", gating, "silu"),
        ("norm", &shape.norm, "RmsNorm"),
        ("positional_embedding", &shape.positional_embedding, "Rope"),
    ] {
        if value != only {
            checks.wrong(&at(key), format!("only \"{only}\" is supported"));
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
            checks.wrong(&at(key), format!("only {only} is supported"));
        }
    }
    if shape.kv_repeat != 1 {
        checks.wrong(&at("kv_repeat"), "only 1 is supported");
    }
}
