use crate::model::cuda::emulator::Emulator;
use crate::model::cuda::source::WeightSource;
use crate::model::cuda::stt::{CudaStt, Setup};
use crate::model::layout::dtype::{Cache, Real};
use crate::model::layout::mimi::MimiConfig;
use crate::model::tests::fixture::{Fixture, pcm, relative_error};
use crate::model::weights::Weights;
use crate::model::{StepIo, StepOutput, StreamModel};
use crate::stream::ids::RowId;

pub(super) fn engine(f: &Fixture, rows: usize, real: Real, backwards: bool) -> CudaStt<Emulator> {
    engine_with(f, rows, (real, Cache::Plain(real)), backwards)
}

pub(super) fn engine_with(
    f: &Fixture,
    rows: usize,
    (real, cache): (Real, Cache),
    backwards: bool,
) -> CudaStt<Emulator> {
    let codec = Weights::open(&f.config.codec_file).unwrap();
    let lm = Weights::open(&f.config.lm_file).unwrap();
    let mimi = MimiConfig::of(&codec).unwrap();
    let mut emulator = Emulator::new();
    emulator.backwards = backwards;
    let sources = (&WeightSource::File(&codec), &WeightSource::File(&lm));
    CudaStt::load(emulator, &f.config, &mimi, sources, Setup { rows, real, cache }).unwrap()
}

#[test]
fn latents_codes_logits_tokens_and_pauses_are_the_references() {
    for (name, seed, frames) in [("tiny-1b", 1, 120), ("tiny-2.6b", 2, 120)] {
        let f = Fixture::open(name);
        let mut engine = engine(&f, 1, Real::F32, false);
        let (books, heads) = (f.config.lm.audio_codebooks, engine.spec().pause_heads);
        let vocabulary = f.config.lm.text_out_vocab_size;
        let shown = f.ints("shown");
        let (mut latents, mut logits, mut out) = (Vec::new(), Vec::new(), StepOutput::default());
        let (mut codes, mut tokens, mut pauses) = (Vec::<u32>::new(), Vec::<u32>::new(), Vec::<f32>::new());
        let start = std::time::Instant::now();
        for (i, frame) in pcm(seed, frames).chunks_exact(1920).enumerate() {
            engine
                .step(&mut StepIo {
                    rows: &[RowId(0)],
                    audio: frame,
                    out: &mut out,
                })
                .unwrap();
            codes.extend(engine.codes(1, books).unwrap());
            tokens.extend(&out.tokens);
            pauses.extend(&out.pauses);
            if shown.contains(&(i as u32)) {
                latents.extend(engine.latents(1).unwrap());
                logits.extend_from_slice(&engine.logits(1).unwrap()[..vocabulary]);
            }
        }
        println!("{name}: {:?} a step", start.elapsed() / frames as u32);
        assert_eq!(codes, f.ints("codes")[..frames * books], "{name}: codes");
        assert_eq!(tokens, f.ints("tokens")[..frames], "{name}: tokens");
        for (what, got, want) in [
            ("latents", latents, f.floats("latents")),
            ("logits", logits, f.floats("logits")),
        ] {
            let error = relative_error(&got, &want[..got.len()]);
            assert!(error < 1e-4, "{name}: {what} differ by {error:e}");
        }
        let worst = pauses
            .iter()
            .zip(f.floats("pauses"))
            .fold(0.0f32, |m, (a, b)| m.max((a - b).abs()));
        assert!(
            worst < 1e-4 && pauses.len() == frames * heads,
            "{name}: pauses differ by {worst:e}"
        );
    }
}
