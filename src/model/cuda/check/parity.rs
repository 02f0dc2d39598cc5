//! The engine on the GPU against the reference's fixtures, and against itself.

use anyhow::Context as _;
use safetensors::SafeTensors;

use super::distance::far;
use super::forced::Forced;
use super::{Check, Fixture, Report};
use crate::model::cuda::driver::Driver;
use crate::model::cuda::load::open;
use crate::model::cuda::stt::CudaStt;
use crate::model::layout::dtype::{KvFormat, WeightFormat};
use crate::model::layout::mimi::MimiConfig;
use crate::model::stt::config::{Checkpoint, SttConfig};
use crate::model::weights::Weights;
use crate::model::{StepIo, StepOutput, StreamModel};
use crate::stream::frame::FRAME_SAMPLES;
use crate::stream::ids::RowId;

/// Of weights, and of keys and values.
type Formats = (WeightFormat, Option<KvFormat>);

const EXACT: Formats = (WeightFormat::F32, None);
const SHORT: Formats = (WeightFormat::Bf16, None);
const SHORTEST: Formats = (WeightFormat::Bf16, Some(KvFormat::Fp8));

/// Names, and how far logits may be from those of f32.
pub(super) const BF16: (&str, f32) = ("bf16", 2e-2);
pub(super) const FP8: (&str, f32) = ("fp8 keys and values", 1e-1);

/// A fixture with the reference's results.
struct Reference<'a> {
    config: &'a SttConfig,
    expected: Vec<u8>,
}

impl Reference<'_> {
    // Bits of a tensor's values, bytes widened.
    fn bits(&self, name: &str) -> anyhow::Result<Vec<u32>> {
        let tensors = SafeTensors::deserialize(&self.expected)?;
        let view = tensors.tensor(name)?;
        Ok(match view.dtype().bitsize() {
            8 => view.data().iter().map(|b| u32::from(*b)).collect(),
            _ => {
                let words = view.data().chunks_exact(4);
                words
                    .map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
                    .collect()
            }
        })
    }

    fn engine(&self, rows: usize, (weights, kv_cache): Formats) -> anyhow::Result<CudaStt<Driver>> {
        let config = SttConfig {
            weights: Some(weights),
            kv_cache,
            ..self.config.clone()
        };
        let (codec, lm) = (
            Weights::open(&config.codec_file)?,
            Weights::open(&config.lm_file)?,
        );
        let checkpoint = Checkpoint {
            config: &config,
            mimi: &MimiConfig::of(&codec)?,
            codec: &codec,
            lm: &lm,
        };
        let mut engine = open(&checkpoint, rows, 0)?;
        engine.warm_up()?;
        Ok(engine)
    }
}

/// Returns the fixtures' audio (`tools/reference/audio.py`), to the bit: `frames × 1920` samples.
pub(super) fn audio(seed: u32, frames: usize) -> Vec<f32> {
    const LEVELS: [i64; 8] = [0, 9000, 3000, 14000, 500, 6000, 0, 11000];
    let mut state = seed;
    let sample = |i: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let part = i / 7200 + seed as usize;
        let level = LEVELS[part % LEVELS.len()];
        let up = (i / (20 + part * 37 % 90)) % 2 == 1;
        let noise = ((i64::from(state >> 16) - 32768) * level).div_euclid(32768);
        ((if up { level } else { -level } + noise).div_euclid(2)) as f32 / 32768.0
    };
    (0..frames * FRAME_SAMPLES).map(sample).collect()
}

/// All checks of one fixture over as many frames as it holds, at most `frames`.
///
/// # Errors
/// A file cannot be read, or the device failed.
pub(super) fn checks(fixture: &Fixture, frames: usize, report: &mut Report) -> anyhow::Result<()> {
    let Fixture { name, seed, .. } = fixture;
    let f = Reference {
        config: &fixture.config,
        expected: std::fs::read(&fixture.expected).with_context(|| fixture.expected.display().to_string())?,
    };
    compare(&f, name, *seed, frames, report)?;
    rows(&f, name, *seed, frames, report)
}

// Against the reference's results, and lower precision against full.
fn compare(
    f: &Reference<'_>,
    name: &str,
    seed: u32,
    frames: usize,
    report: &mut Report,
) -> anyhow::Result<()> {
    let mut add = |what: &str, passed: bool, detail: String| {
        report.add(Check {
            name: format!("{name}: {what}"),
            passed,
            detail,
        });
    };
    let (books, vocabulary) = (f.config.lm.audio_codebooks, f.config.lm.text_out_vocab_size);
    let floats = |name| {
        anyhow::Ok(
            f.bits(name)?
                .into_iter()
                .map(f32::from_bits)
                .collect::<Vec<f32>>(),
        )
    };
    let (shown, latents, logits) = (f.bits("shown")?, floats("latents")?, floats("logits")?);
    let (codes, tokens) = (f.bits("codes")?, f.bits("tokens")?);
    let d = latents.len() / shown.len();
    let frames = frames.min(tokens.len());
    let sound = audio(seed, frames);

    let mut exact = f.engine(1, EXACT)?;
    let mut forced = [
        (Forced::new(f.engine(1, SHORT)?), BF16),
        (Forced::new(f.engine(1, SHORTEST)?), FP8),
    ];
    let mut out = StepOutput::default();
    // Frames that differ.
    let (mut wrong_codes, mut wrong_tokens) = (Vec::new(), Vec::new());
    let (mut latent_error, mut logit_error) = (0.0f32, 0.0f32);
    for (i, frame) in sound.chunks_exact(FRAME_SAMPLES).enumerate() {
        exact.step(&mut StepIo {
            rows: &[RowId(0)],
            audio: frame,
            out: &mut out,
        })?;
        if exact.codes(1, books)? != codes[i * books..][..books] {
            wrong_codes.push(i);
        }
        if out.tokens[0] != tokens[i] {
            wrong_tokens.push(i);
        }
        let step_logits = exact.logits(1)?;
        if let Some(at) = shown.iter().position(|s| *s as usize == i) {
            latent_error = latent_error.max(far(&exact.latents(1)?, &latents[at * d..][..d]));
            let want = &logits[at * vocabulary..][..vocabulary];
            logit_error = logit_error.max(far(&step_logits[..vocabulary], want));
        }
        for (forced, _) in &mut forced {
            forced.step(frame, &step_logits[..vocabulary], out.tokens[0])?;
        }
    }
    for (what, wrong) in [("codes", wrong_codes), ("tokens", wrong_tokens)] {
        // Whatever follows the first may follow from it.
        let first = wrong
            .first()
            .map_or(String::new(), |i| format!(", first in frame {i}"));
        add(
            what,
            wrong.is_empty(),
            format!("{} of {frames} frames differ{first}", wrong.len()),
        );
    }
    add(
        "latents",
        latent_error < 1e-4,
        format!("within {latent_error:.1e}"),
    );
    add("logits", logit_error < 1e-4, format!("within {logit_error:.1e}"));
    for (forced, (what, bar)) in forced {
        report.add(forced.check(format!("{name}: {what}"), bar));
    }
    Ok(())
}

// One row alone and among others, by graphs and launch by launch: bit-equal.
fn rows(f: &Reference<'_>, name: &str, seed: u32, frames: usize, report: &mut Report) -> anyhow::Result<()> {
    let mut add = |what: &str, passed: bool, detail: &str| {
        report.add(Check {
            name: format!("{name}: {what}"),
            passed,
            detail: detail.to_owned(),
        });
    };
    let frames = frames.min(f.bits("tokens")?.len()).min(60);
    let sound = audio(seed, frames);
    for (formats, dtype) in [(EXACT, "f32"), (SHORT, "bf16"), (SHORTEST, "fp8")] {
        let mut many = f.engine(12, formats)?;
        many.set_buckets(vec![12]);
        many.warm_up()?;
        let alone = among(&mut many, &sound, frames, 0)?;
        let beside = among(&mut many, &sound, frames, 7)?;
        add(
            &format!("{dtype} row among others"),
            alone == beside,
            "bit-equal, recycled and in another slot",
        );
        many.backend().profile(true);
        let eager = among(&mut many, &sound, frames, 7)?;
        many.backend().profile(false);
        add(
            &format!("{dtype} graphs"),
            eager == beside,
            "bit-equal to launches one by one",
        );
    }
    Ok(())
}

// Tokens and bits of the pauses of row 3, reset first, with `others` rows at other moments of the same audio.
fn among(
    engine: &mut CudaStt<Driver>,
    sound: &[f32],
    frames: usize,
    others: u16,
) -> anyhow::Result<(Vec<u32>, Vec<u32>)> {
    let rows: Vec<RowId> = (4..4 + others).chain([3]).map(RowId).collect();
    rows.iter().for_each(|row| engine.reset_row(*row, 0));
    let (mut tokens, mut pauses, mut out) = (Vec::new(), Vec::new(), StepOutput::default());
    let heads = engine.spec().pause_heads;
    for i in 0..frames {
        let at = |row: &RowId| (i + if row.0 == 3 { 0 } else { 3 * row.index() }) % frames * FRAME_SAMPLES;
        let pcm: Vec<f32> = rows
            .iter()
            .flat_map(|row| &sound[at(row)..][..FRAME_SAMPLES])
            .copied()
            .collect();
        engine.step(&mut StepIo {
            rows: &rows,
            audio: &pcm,
            out: &mut out,
        })?;
        let last = rows.len() - 1;
        tokens.push(out.tokens[last]);
        pauses.extend(out.pauses[last * heads..].iter().map(|p| p.to_bits()));
    }
    Ok((tokens, pauses))
}
