use super::fixture::{Fixture, pcm, relative_error};
use crate::model::cpu::{Formats, Lm, MimiEncoder, Pool};
use crate::model::layout::dtype::{Real, WeightFormat};
use crate::model::layout::mimi::MimiConfig;
use crate::model::tokenizer::Tokenizer;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;
use crate::stream::text::Detokenize;

/// Relative to the largest magnitude, in f32.
const TOLERANCE: f32 = 1e-4;
/// With weights rounded to bf16 beyond what the checkpoint holds (8 bits of mantissa).
const BF16_TOLERANCE: f32 = 3e-2;

const CASES: [(&str, u32); 3] = [("tiny-1b", 1), ("tiny-2.6b", 2), ("tiny-delay", 3)];

fn frames_of(f: &Fixture) -> usize {
    f.ints("tokens").len()
}

#[test]
fn latents_and_codes_are_the_references() {
    for (name, seed) in CASES {
        let f = Fixture::open(name);
        let w = Weights::open(&f.config.codec_file).unwrap();
        let config = MimiConfig::of(&w).unwrap();
        let books = f.config.lm.audio_codebooks;
        let (mut latent_path, mut code_path) = [(); 2]
            .map(|()| MimiEncoder::load(&w, &config, books, 1).unwrap())
            .into();
        let (mut pool, audio, d) = (Pool::new(2).unwrap(), pcm(seed, frames_of(&f)), config.dimension);
        let (want_latents, want_codes) = (f.floats("latents"), f.ints("codes"));
        let shown = f.ints("shown");
        let (mut latents, mut wrong) = (Vec::new(), 0);
        for (i, frame) in audio.chunks_exact(1920).enumerate() {
            let latent = latent_path.latents(&mut pool, &[RowId(0)], frame);
            if shown.contains(&(i as u32)) {
                latents.extend_from_slice(latent);
            }
            let mut codes = vec![0; books];
            code_path.encode(&mut pool, &[RowId(0)], frame, &mut codes);
            wrong += usize::from(codes != want_codes[i * books..][..books]);
        }
        let error = relative_error(&latents, &want_latents);
        assert_eq!(want_latents.len(), shown.len() * d);
        assert!(error < TOLERANCE, "{name}: latents differ by {error:e}");
        // The fixtures were made without near ties: every code of every frame agrees.
        assert_eq!(wrong, 0, "{name}: frames with other codes");
    }
}

// Runs the language model on the reference's codes, so that a codec's rounding cannot hide in the comparison.
fn run(f: &Fixture, format: Option<WeightFormat>) -> (Vec<u32>, Vec<f32>, Vec<f32>) {
    let w = Weights::open(&f.config.lm_file).unwrap();
    let formats = Formats {
        weights: format,
        cache: Real::F32,
    };
    let mut lm = Lm::load(&w, &f.config, 1, formats).unwrap();
    let (mut pool, books, shown) = (
        Pool::new(2).unwrap(),
        f.config.lm.audio_codebooks,
        f.ints("shown"),
    );
    let (mut tokens, mut logits, mut pauses) = (Vec::new(), Vec::new(), Vec::new());
    for (i, codes) in f.ints("codes").chunks_exact(books).enumerate() {
        let (mut token, mut pause) = (Vec::new(), Vec::new());
        lm.step(&mut pool, &[RowId(0)], codes, &mut token, &mut pause);
        tokens.extend(token);
        pauses.extend(pause);
        if shown.contains(&(i as u32)) {
            logits.extend_from_slice(lm.logits());
        }
    }
    (tokens, logits, pauses)
}

#[test]
fn logits_tokens_and_pauses_are_the_references() {
    for (name, _) in CASES {
        let f = Fixture::open(name);
        for format in [None, Some(WeightFormat::F32)] {
            let (tokens, logits, pauses) = run(&f, format);
            assert_eq!(tokens, f.ints("tokens"), "{name}, {format:?}");
            let error = relative_error(&logits, &f.floats("logits"));
            assert!(
                error < TOLERANCE,
                "{name}, {format:?}: logits differ by {error:e}"
            );
            let worst = pauses
                .iter()
                .zip(f.floats("pauses"))
                .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
            assert!(
                worst < TOLERANCE,
                "{name}, {format:?}: pauses differ by {worst:e}"
            );
        }
    }
}

#[test]
fn without_a_delay_the_learnt_padding_is_the_condition() {
    let mut f = Fixture::open("tiny-delay");
    f.config.conditioning.delay_s = None;
    let (tokens, logits, _) = run(&f, None);
    assert_eq!(tokens, f.ints("padded.tokens"));
    assert_ne!(tokens, f.ints("tokens"), "the delay asked for changes nothing");
    let error = relative_error(&logits, &f.floats("padded.logits"));
    assert!(error < TOLERANCE, "logits differ by {error:e}");
}

#[test]
fn weights_rounded_to_bf16_stay_within_their_tolerance() {
    let f = Fixture::open("tiny-2.6b");
    let (_, logits, _) = run(&f, Some(WeightFormat::Bf16));
    let vocabulary = f.config.lm.text_out_vocab_size;
    // Later steps feed back a token that rounding may have changed, so only the first is comparable.
    let error = relative_error(&logits[..vocabulary], &f.floats("logits")[..vocabulary]);
    assert!(error > 0.0 && error < BF16_TOLERANCE, "{error:e}");
}

#[test]
fn text_is_what_sentencepiece_decodes() {
    for (name, _) in CASES {
        let f = Fixture::open(name);
        let tokenizer = Tokenizer::open(&f.config.tokenizer_file).unwrap();
        let about: serde_json::Value =
            serde_json::from_str(&std::fs::read_to_string(f.dir.join("expected.json")).unwrap()).unwrap();
        for case in about["decoded"].as_array().unwrap() {
            let ids: Vec<u32> = serde_json::from_value(case["ids"].clone()).unwrap();
            assert_eq!(
                tokenizer.decode(&ids),
                case["text"].as_str().unwrap(),
                "{name}: {ids:?}"
            );
        }
    }
}
