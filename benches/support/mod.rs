// Each benchmark uses its part of this.
#![allow(dead_code)]
//! Random checkpoints in the published layout, of any size: what a step costs does not depend on what was learned.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use moshi_server::model::layout::lm::{ExtraHeads, LmConfig, TransformerConfig};
use moshi_server::model::layout::mimi::MimiConfig;
use moshi_server::model::stt::{Conditioning, SttConfig};

/// A language model's size.
#[derive(Clone, Copy)]
pub struct LmSize {
    pub name: &'static str,
    pub dim: usize,
    pub heads: usize,
    pub layers: usize,
    pub context: usize,
    pub text: usize,
    pub codebooks: usize,
    pub pause_heads: usize,
    pub delay: u32,
}

impl LmSize {
    /// Weights that one step reads, however many rows share it: all but the embedding tables.
    pub fn weights_read(&self) -> usize {
        let hidden = 11 * self.dim / 4;
        self.layers * (4 * self.dim * self.dim + 3 * hidden * self.dim)
            + self.dim * (self.text + 6 * self.pause_heads)
    }
}

/// Bytes a weight takes in memory; q8_0 has a scale of two bytes for every 32.
pub fn bytes_per_weight(dtype: &str) -> f64 {
    match dtype {
        "f32" => 4.0,
        "q8_0" => 34.0 / 32.0,
        _ => 2.0,
    }
}

/// Bytes a second that `threads` threads read from memory together: the best of three passes over a gigabyte.
pub fn read_bandwidth(threads: usize) -> f64 {
    let words = vec![1u64; 1 << 27];
    let pass = || {
        let begun = std::time::Instant::now();
        std::thread::scope(|scope| {
            for part in words.chunks(words.len().div_ceil(threads)) {
                scope.spawn(move || {
                    std::hint::black_box(part.iter().fold(0u64, |sum, x| sum.wrapping_add(*x)))
                });
            }
        });
        (words.len() * 8) as f64 / begun.elapsed().as_secs_f64()
    };
    (0..3).map(|_| pass()).fold(0.0, f64::max)
}

/// Bytes of this process that are in memory and not merely mapped from a file; 0 where there is no `/proc`.
pub fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("RssAnon:"));
    line.and_then(|l| l.trim().trim_end_matches("kB").trim().parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// Kyutai's `stt-1b-en_fr`.
pub const STT_1B: LmSize = LmSize {
    name: "stt-1b",
    dim: 2048,
    heads: 16,
    layers: 16,
    context: 750,
    text: 8000,
    codebooks: 32,
    pause_heads: 4,
    delay: 6,
};

/// Kyutai's `stt-2.6b-en`.
pub const STT_2_6B: LmSize = LmSize {
    name: "stt-2.6b",
    heads: 32,
    layers: 48,
    context: 375,
    text: 4000,
    pause_heads: 0,
    delay: 32,
    ..STT_1B
};

/// The 1B shape at an eighth of the width and a quarter of the depth, for quick comparisons.
pub const SMALL: LmSize = LmSize {
    name: "scaled-down",
    dim: 256,
    heads: 2,
    layers: 4,
    context: 750,
    text: 1000,
    ..STT_1B
};

/// Writes a random checkpoint of `size` with the published codec into `dir`, and describes it.
pub fn checkpoint(dir: &Path, size: &LmSize, dtype: &str) -> SttConfig {
    let file = |name: &str| dir.join(name);
    let (lm, codec, text) = (
        file("model.safetensors"),
        file("mimi.safetensors"),
        file("tokenizer.model"),
    );
    if !text.exists() {
        fs::create_dir_all(dir).expect("a folder for the checkpoint");
        write_safetensors(&lm, "BF16", &lm_tensors(size));
        write_safetensors(&codec, "F32", &mimi_tensors(&MimiConfig::published()));
        fs::write(&text, tokenizer(size.text)).expect("a tokenizer");
    }
    SttConfig {
        lm_file: lm,
        codec_file: codec,
        tokenizer_file: text,
        text_delay: size.delay,
        conditioning: Conditioning::default(),
        temperature: 0.0,
        weights: Some(dtype.parse().expect("a format of weights")),
        kv_cache: None,
        lm: LmConfig {
            audio_vocab_size: 2049,
            text_in_vocab_size: size.text + 1,
            text_out_vocab_size: size.text,
            audio_codebooks: size.codebooks,
            transformer: TransformerConfig {
                d_model: size.dim,
                num_heads: size.heads,
                num_layers: size.layers,
                dim_feedforward: size.dim * 4,
                context: size.context,
                max_period: 100_000.0,
                gating: Some("silu".to_owned()),
                norm: "RmsNorm".to_owned(),
                positional_embedding: "Rope".to_owned(),
                causal: true,
                norm_first: true,
                bias_ff: false,
                bias_attn: false,
                layer_scale: None,
                use_conv_block: false,
                kv_repeat: 1,
            },
            extra_heads: (size.pause_heads > 0).then_some(ExtraHeads {
                num_heads: size.pause_heads,
                dim: 6,
            }),
            conditioners: Default::default(),
        },
    }
}

/// Seeded audio: a chirp with noise, `frames × 1920` samples.
pub fn audio(frames: usize, seed: u32) -> Vec<f32> {
    let mut noise = seed.wrapping_mul(2_654_435_761).max(1);
    (0..frames * 1920)
        .map(|i| {
            noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let t = i as f32 / 24_000.0;
            0.3 * (t * (400.0 + 90.0 * t)).sin() + 0.1 * ((noise >> 8) as f32 / (1 << 23) as f32 - 1.0)
        })
        .collect()
}

type Tensor = (String, Vec<usize>);

fn lm_tensors(s: &LmSize) -> Vec<Tensor> {
    let (d, h) = (s.dim, 11 * s.dim / 4);
    let mut t = vec![("text_emb.weight".to_owned(), vec![s.text + 1, d])];
    t.extend((0..s.codebooks).map(|i| (format!("emb.{i}.weight"), vec![2049, d])));
    for l in 0..s.layers {
        let layer = |name: &str, shape: &[usize]| (format!("transformer.layers.{l}.{name}"), shape.to_vec());
        t.extend([
            layer("self_attn.in_proj_weight", &[3 * d, d]),
            layer("self_attn.out_proj.weight", &[d, d]),
            layer("norm1.alpha", &[1, 1, d]),
            layer("norm2.alpha", &[1, 1, d]),
            layer("gating.linear_in.weight", &[2 * h, d]),
            layer("gating.linear_out.weight", &[d, h]),
        ]);
    }
    t.push(("out_norm.alpha".to_owned(), vec![1, 1, d]));
    t.push(("text_linear.weight".to_owned(), vec![s.text, d]));
    t.extend((0..s.pause_heads).map(|i| (format!("extra_heads.{i}.weight"), vec![6, d])));
    t
}

fn mimi_tensors(c: &MimiConfig) -> Vec<Tensor> {
    let (d, s) = (c.dimension, &c.seanet);
    let mut t = Vec::new();
    let mut conv = |name: String, shape: [usize; 3], outputs: usize| {
        t.push((format!("{name}.weight"), shape.to_vec()));
        t.push((format!("{name}.bias"), vec![outputs]));
    };
    let block = |conv: &mut dyn FnMut(String, [usize; 3], usize), prefix: String, ch: usize| {
        let narrow = ch / s.compress;
        conv(
            format!("{prefix}.block.1.conv.conv"),
            [narrow, ch, s.residual_kernel_size],
            narrow,
        );
        conv(format!("{prefix}.block.3.conv.conv"), [ch, narrow, 1], ch);
    };
    let mut ch = s.n_filters;
    conv("encoder.model.0.conv.conv".to_owned(), [ch, 1, s.kernel_size], ch);
    let mut i = 1;
    for stride in s.ratios.iter().rev() {
        block(&mut conv, format!("encoder.model.{i}"), ch);
        conv(
            format!("encoder.model.{}.conv.conv", i + 2),
            [2 * ch, ch, 2 * stride],
            2 * ch,
        );
        (i, ch) = (i + 3, ch * 2);
    }
    conv(
        format!("encoder.model.{}.conv.conv", i + 1),
        [d, ch, s.last_kernel_size],
        d,
    );
    conv("decoder.model.0.conv.conv".to_owned(), [ch, d, s.kernel_size], ch);
    let mut i = 2;
    for stride in &s.ratios {
        conv(
            format!("decoder.model.{i}.convtr.convtr"),
            [ch, ch / 2, 2 * stride],
            ch / 2,
        );
        ch /= 2;
        block(&mut conv, format!("decoder.model.{}", i + 1), ch);
        i += 3;
    }
    conv(
        format!("decoder.model.{i}.conv.conv"),
        [1, ch, s.last_kernel_size],
        1,
    );
    t.push(("downsample.conv.conv.conv.weight".to_owned(), vec![d, d, 4]));
    t.push(("upsample.convtr.convtr.convtr.weight".to_owned(), vec![d, 1, 4]));
    let ff = c.transformer.dim_feedforward;
    for side in ["encoder", "decoder"] {
        for l in 0..c.transformer.num_layers {
            let layer = |name: &str, shape: &[usize]| {
                (
                    format!("{side}_transformer.transformer.layers.{l}.{name}"),
                    shape.to_vec(),
                )
            };
            t.extend([
                layer("self_attn.in_proj_weight", &[3 * d, d]),
                layer("self_attn.out_proj.weight", &[d, d]),
                layer("linear1.weight", &[ff, d]),
                layer("linear2.weight", &[d, ff]),
            ]);
            t.extend(["norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"].map(|n| layer(n, &[d])));
            t.extend(["layer_scale_1.scale", "layer_scale_2.scale"].map(|n| layer(n, &[d])));
        }
    }
    let q = &c.quantizer;
    for (chain, levels) in [("rvq_first", 1), ("rvq_rest", q.n_q - 1)] {
        t.push((
            format!("quantizer.{chain}.input_proj.weight"),
            vec![q.dimension, d, 1],
        ));
        t.push((
            format!("quantizer.{chain}.output_proj.weight"),
            vec![d, q.dimension, 1],
        ));
        for l in 0..levels {
            let book = |name: &str, shape: &[usize]| {
                (
                    format!("quantizer.{chain}.vq.layers.{l}._codebook.{name}"),
                    shape.to_vec(),
                )
            };
            t.extend([
                book("embedding_sum", &[q.bins, q.dimension]),
                book("cluster_usage", &[q.bins]),
                book("_initialized", &[1]),
            ]);
        }
    }
    t
}

// Uniform values scaled to keep signals of order one: by fan-in for weights, near one for norms and counts.
fn write_safetensors(path: &Path, dtype: &str, tensors: &[Tensor]) {
    let bytes = if dtype == "BF16" { 2 } else { 4 };
    let mut at = 0;
    let mut header = serde_json::Map::new();
    for (name, shape) in tensors {
        let end = at + shape.iter().product::<usize>() * bytes;
        header.insert(
            name.clone(),
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [at, end]}),
        );
        at = end;
    }
    let header = serde_json::to_vec(&header).expect("a header");
    let mut out = BufWriter::new(File::create(path).expect("a checkpoint file"));
    out.write_all(&(header.len() as u64).to_le_bytes())
        .expect("room for the checkpoint");
    out.write_all(&header).expect("room for the checkpoint");
    let mut s = 1u64;
    for (name, shape) in tensors {
        let fan_in: usize = shape[1..].iter().product();
        let level = ["alpha", "norm", "cluster_usage", "_initialized"]
            .iter()
            .any(|n| name.contains(n));
        let scale = if name.ends_with("bias") {
            0.01
        } else {
            (3.0 / fan_in.max(1) as f32).sqrt()
        };
        for _ in 0..shape.iter().product() {
            s ^= s << 13;
            s ^= s >> 7;
            s ^= s << 17;
            let x = (s >> 40) as f32 / (1 << 23) as f32 - 1.0;
            let x = if level { 1.0 } else { x * scale };
            let bits = x.to_bits().to_le_bytes();
            out.write_all(&bits[4 - bytes..])
                .expect("room for the checkpoint");
        }
    }
}

// A SentencePiece model of `n` numbered pieces: protobuf field 1 (repeated message) with field 1 (string).
fn tokenizer(n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    for i in 0..n {
        let piece = format!("\u{2581}w{i}");
        out.extend([0x0a, piece.len() as u8 + 2, 0x0a, piece.len() as u8]);
        out.extend(piece.as_bytes());
    }
    out
}
