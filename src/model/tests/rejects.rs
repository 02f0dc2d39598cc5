//! Broken checkpoints: each is refused with a message that names the file and what was expected.

use std::fs;
use std::path::{Path, PathBuf};

use safetensors::tensor::{Dtype, TensorView};
use safetensors::{SafeTensors, serialize};

use super::fixture::Fixture;
use crate::model::device::{Device, Devices};
use crate::model::layout::dtype::KvFormat;
use crate::model::stt::SttConfig;
use crate::model::{LoadOptions, load};

struct Tampered {
    fixture: Fixture,
    dir: tempfile::TempDir,
}

impl Tampered {
    fn new() -> Self {
        Self {
            fixture: Fixture::open("tiny-1b"),
            dir: tempfile::tempdir().unwrap(),
        }
    }

    fn place(&mut self, which: fn(&mut SttConfig) -> &mut PathBuf, bytes: &[u8]) {
        let file = which(&mut self.fixture.config);
        let path = self.dir.path().join(file.file_name().unwrap());
        fs::write(&path, bytes).unwrap();
        *file = path;
    }

    fn error(&self) -> String {
        self.error_with(4)
    }

    fn error_with(&self, rows: usize) -> String {
        let options = LoadOptions {
            rows,
            threads: 1,
            device: Device::Cpu,
        };
        load(&self.fixture.config, options)
            .err()
            .expect("refused")
            .to_string()
    }
}

/// Rewrites a safetensors file tensor by tensor; `edit` returns none to drop one.
fn rewrite(
    path: &Path,
    edit: impl Fn(&str, Dtype, Vec<usize>, Vec<u8>) -> Option<(Dtype, Vec<usize>, Vec<u8>)>,
) -> Vec<u8> {
    let bytes = fs::read(path).unwrap();
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let kept: Vec<_> = tensors
        .tensors()
        .into_iter()
        .filter_map(|(n, v)| {
            Some((
                n.clone(),
                edit(&n, v.dtype(), v.shape().to_vec(), v.data().to_vec())?,
            ))
        })
        .collect();
    let views = kept
        .iter()
        .map(|(n, (dtype, shape, data))| (n.as_str(), TensorView::new(*dtype, shape.clone(), data).unwrap()));
    serialize(views, header.metadata().clone()).unwrap()
}

fn contains(message: &str, parts: &[&str]) {
    for part in parts {
        assert!(message.contains(part), "`{message}` does not say `{part}`");
    }
}

#[test]
fn a_file_that_is_not_there() {
    let mut t = Tampered::new();
    t.fixture.config.lm_file = "/nowhere/model.safetensors".into();
    contains(&t.error(), &["/nowhere/model.safetensors", "No such file"]);
}

#[test]
fn a_missing_tensor() {
    let mut t = Tampered::new();
    let bytes = rewrite(&t.fixture.config.lm_file, |name, d, s, b| {
        (name != "emb.7.weight").then_some((d, s, b))
    });
    t.place(|m| &mut m.lm_file, &bytes);
    contains(
        &t.error(),
        &["model.safetensors", "no tensor `emb.7.weight`", "[33, 256]"],
    );
}

#[test]
fn a_tensor_of_another_shape() {
    let mut t = Tampered::new();
    let bytes = rewrite(&t.fixture.config.codec_file, |name, d, s, b| {
        Some(if name == "downsample.conv.conv.conv.weight" {
            (d, vec![64, 32, 8], b)
        } else {
            (d, s, b)
        })
    });
    t.place(|m| &mut m.codec_file, &bytes);
    contains(
        &t.error(),
        &[
            "mimi.safetensors",
            "downsample.conv.conv.conv.weight",
            "[64, 32, 8]",
            "[64, 64, 4]",
        ],
    );
}

#[test]
fn a_tensor_of_integers() {
    let mut t = Tampered::new();
    let bytes = rewrite(&t.fixture.config.lm_file, |name, d, s, b| {
        Some(if name == "out_norm.alpha" {
            (Dtype::I16, s, b)
        } else {
            (d, s, b)
        })
    });
    t.place(|m| &mut m.lm_file, &bytes);
    contains(&t.error(), &["out_norm.alpha", "I16", "bf16"]);
}

#[test]
fn a_truncated_file() {
    let mut t = Tampered::new();
    let bytes = fs::read(&t.fixture.config.lm_file).unwrap();
    for len in [0, 5, 300, bytes.len() / 2, bytes.len() - 1] {
        t.place(|m| &mut m.lm_file, &bytes[..len]);
        let message = t.error();
        contains(&message, &["model.safetensors"]);
    }
}

#[test]
fn a_tokenizer_of_another_checkpoint() {
    let mut t = Tampered::new();
    t.fixture.config.tokenizer_file = Fixture::open("tiny-2.6b").config.tokenizer_file;
    contains(&t.error(), &["330 pieces", "110", "another checkpoint"]);
}

#[test]
fn a_tokenizer_that_is_none() {
    let mut t = Tampered::new();
    for bytes in [&b"not a protobuf"[..], b""] {
        t.place(|m| &mut m.tokenizer_file, bytes);
        contains(&t.error(), &["tokenizer.model", "SentencePiece"]);
    }
}

#[test]
fn codec_metadata_that_does_not_parse() {
    let mut t = Tampered::new();
    let bytes = fs::read(&t.fixture.config.codec_file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let bad = serialize(
        tensors.tensors(),
        Some([("mimi_config".to_owned(), "{".to_owned())].into()),
    )
    .unwrap();
    t.place(|m| &mut m.codec_file, &bad);
    contains(&t.error(), &["mimi.safetensors", "mimi_config"]);
}

#[test]
fn more_codebooks_than_the_codec_has() {
    let mut t = Tampered::new();
    t.fixture.config.lm.audio_codebooks = 33;
    contains(&t.error(), &["audio_codebooks is 33", "32"]);
}

#[test]
fn settings_no_published_checkpoint_uses() {
    let mut t = Tampered::new();
    t.fixture.config.lm.transformer.norm = "LayerNorm".to_owned();
    contains(&t.error(), &["norm", "RmsNorm", "not supported"]);
}

#[test]
fn keys_and_values_of_eight_bits_on_a_cpu() {
    let mut t = Tampered::new();
    t.fixture.config.kv_cache = Some(KvFormat::Fp8);
    contains(&t.error(), &["kv_cache_dtype", "fp8", "CPU", "bf16"]);
}

#[test]
fn more_rows_than_memory_holds() {
    let t = Tampered::new();
    contains(
        &t.error_with(40_000_000),
        &["40000000 rows", "rows fit", "batch_size"],
    );
}

#[cfg(not(feature = "cuda"))]
#[test]
fn a_gpu_this_build_cannot_use() {
    let message = "cuda:0".parse::<Device>().unwrap_err().to_string();
    contains(&message, &["cuda:0", "--device cpu", "--features cuda"]);
    contains(
        &"tpu".parse::<Device>().unwrap_err().to_string(),
        &["tpu", "auto"],
    );
    let message = "cuda:all".parse::<Devices>().unwrap_err().to_string();
    contains(&message, &["cuda:all", "--features cuda"]);
}

#[test]
fn lists_of_devices_that_make_no_sense() {
    let message = |list: &str| list.parse::<Devices>().unwrap_err().to_string();
    contains(&message("cuda:0,cpu"), &["cuda:0,cpu", "only GPUs"]);
    contains(&message("cuda:1,"), &["only GPUs"]);
    contains(&message("cuda:1, cuda:0, cuda:1"), &["cuda:1", "twice"]);
    contains(&message("cuda,cuda:0"), &["cuda:0", "twice"]);
    assert_eq!("cpu".parse::<Devices>().unwrap().list(), [Device::Cpu]);
}
