use super::parity::{engine, engine_with};
use crate::model::cuda::emulator::Emulator;
use crate::model::cuda::kernels::Kernel;
use crate::model::cuda::stt::{CudaStt, buckets};
use crate::model::device::Device;
use crate::model::layout::dtype::{Cache, Real};
use crate::model::tests::fixture::{Fixture, pcm, relative_error};
use crate::model::{LoadOptions, StepIo, StepOutput, StreamModel, load};
use crate::stream::ids::RowId;

/// Frames that wrap the rings of both transformers of `tiny-1b` (24 frames, and 10).
const FRAMES: usize = 30;

fn step(model: &mut dyn StreamModel, rows: &[RowId], audio: &[f32], out: &mut StepOutput) {
    model.step(&mut StepIo { rows, audio, out }).unwrap();
}

// Tokens and pauses of one stream alone.
fn alone(model: &mut dyn StreamModel, row: RowId, audio: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let (mut tokens, mut pauses, mut out) = (Vec::new(), Vec::new(), StepOutput::default());
    for frame in audio.chunks_exact(1920) {
        step(model, &[row], frame, &mut out);
        tokens.extend(&out.tokens);
        pauses.extend(&out.pauses);
    }
    (tokens, pauses)
}

#[test]
fn a_recycled_row_is_bit_equal_to_a_fresh_one() {
    let f = Fixture::open("tiny-1b");
    let audio = pcm(21, FRAMES);
    let fresh = alone(&mut engine(&f, 1, Real::F32, false), RowId(0), &audio);
    let mut used = engine(&f, 1, Real::F32, false);
    alone(&mut used, RowId(0), &pcm(22, 17));
    used.reset_row(RowId(0), 0);
    assert_eq!(alone(&mut used, RowId(0), &audio), fresh);
}

// Rows that come, stall and go, in slots that change from step to step; one of them is watched.
#[test]
fn a_row_is_bit_equal_alone_and_among_others() {
    let f = Fixture::open("tiny-1b");
    let audio = pcm(31, FRAMES);
    for real in [Real::F32, Real::Bf16] {
        let want = alone(&mut engine(&f, 1, real, false), RowId(0), &audio);
        let mut batch = engine(&f, 5, real, false);
        let others: Vec<Vec<f32>> = (0..5).map(|i| pcm(40 + i, FRAMES)).collect();
        let (mut tokens, mut pauses, mut out) = (Vec::new(), Vec::new(), StepOutput::default());
        for i in 0..FRAMES {
            let mut rows: Vec<u16> = (0..5)
                .filter(|r| *r == 3 || (i + usize::from(*r)) % 3 > 0)
                .collect();
            let turn = i % rows.len();
            rows.rotate_left(turn);
            let frames = rows
                .iter()
                .map(|r| if *r == 3 { &audio } else { &others[usize::from(*r)] });
            let frames: Vec<&[f32]> = frames.map(|a| &a[i * 1920..][..1920]).collect();
            let ids: Vec<RowId> = rows.iter().map(|r| RowId(*r)).collect();
            step(&mut batch, &ids, &frames.concat(), &mut out);
            let slot = rows.iter().position(|r| *r == 3).unwrap();
            tokens.push(out.tokens[slot]);
            pauses.extend_from_slice(&out.pauses[slot * 4..][..4]);
        }
        assert_eq!((tokens, pauses), want, "{real:?}");
    }
}

#[test]
fn threads_and_blocks_may_run_in_any_order() {
    let f = Fixture::open("tiny-1b");
    let audio = pcm(61, 12);
    let forwards = alone(&mut engine(&f, 2, Real::F32, false), RowId(1), &audio);
    let backwards = alone(&mut engine(&f, 2, Real::F32, true), RowId(1), &audio);
    assert_eq!(forwards, backwards);
}

#[test]
fn sampling_is_the_cpus() {
    let mut f = Fixture::open("tiny-1b");
    f.config.temperature = 1.5;
    let audio = pcm(61, FRAMES);
    let options = LoadOptions {
        rows: 1,
        threads: 1,
        device: Device::Cpu,
    };
    let mut cpu = load(&f.config, options).unwrap().model;
    let mut gpu = engine(&f, 1, Real::F32, false);
    for seed in [0, 1 << 40 | 7] {
        cpu.reset_row(RowId(0), seed);
        gpu.reset_row(RowId(0), seed);
        let want = alone(&mut *cpu, RowId(0), &audio).0;
        assert_eq!(alone(&mut gpu, RowId(0), &audio).0, want, "seed {seed}");
    }
}

// In bf16 the stream is led along the f32 engine's tokens, so that one other choice does not make all later ones
// incomparable.
#[test]
fn bf16_stays_near_f32() {
    for (name, seed, frames) in [("tiny-1b", 1, 520), ("tiny-2.6b", 2, 60)] {
        let f = Fixture::open(name);
        let vocabulary = f.config.lm.text_out_vocab_size;
        let mut exact = engine(&f, 1, Real::F32, false);
        let mut short = engine(&f, 1, Real::Bf16, false);
        let (mut a, mut b) = (StepOutput::default(), StepOutput::default());
        let (mut worst, mut others) = (0.0f32, 0);
        for frame in pcm(seed, frames).chunks_exact(1920) {
            step(&mut exact, &[RowId(0)], frame, &mut a);
            step(&mut short, &[RowId(0)], frame, &mut b);
            let logits = |e: &mut CudaStt<Emulator>| e.logits(1).unwrap()[..vocabulary].to_vec();
            let (near, reference) = (logits(&mut short), logits(&mut exact));
            worst = worst.max(relative_error(&near, &reference));
            // Random weights leave many near ties; another choice is no error where the two were nearer than the tolerance.
            let scale = reference.iter().fold(0.0f32, |m, x| m.max(x.abs()));
            let margin = reference[a.tokens[0] as usize] - reference[b.tokens[0] as usize];
            assert!(
                margin <= 4e-2 * scale,
                "another token {margin} below the best of {scale}"
            );
            others += usize::from(a.tokens != b.tokens);
            short.force_token(RowId(0), a.tokens[0]).unwrap();
        }
        println!("{name}, bf16: logits within {worst:e}, {others} of {frames} tokens differ");
        assert!(worst < 2e-2, "logits within {worst:e}");
        // As published: weights that are bf16 in the file. The other fixture's are rounded, which moves near ties further.
        if name == "tiny-1b" {
            assert!(others * 200 <= frames, "{others} of {frames} tokens differ");
        }
    }
}

// Random weights make attention nearly even, so that errors of single keys average out; those of values stay.
#[test]
fn keys_and_values_of_eight_bits_stay_near_those_of_sixteen() {
    let f = Fixture::open("tiny-1b");
    let vocabulary = f.config.lm.text_out_vocab_size;
    let audio = pcm(31, FRAMES);
    let mut plain = engine(&f, 1, Real::Bf16, false);
    let mut short = engine_with(&f, 1, (Real::Bf16, Cache::Fp8), false);
    let (mut a, mut b, mut worst) = (StepOutput::default(), StepOutput::default(), 0.0f32);
    for frame in audio.chunks_exact(1920) {
        step(&mut plain, &[RowId(0)], frame, &mut a);
        step(&mut short, &[RowId(0)], frame, &mut b);
        let logits = |e: &mut CudaStt<Emulator>| e.logits(1).unwrap()[..vocabulary].to_vec();
        worst = worst.max(relative_error(&logits(&mut short), &logits(&mut plain)));
        short.force_token(RowId(0), a.tokens[0]).unwrap();
    }
    println!("fp8 keys and values: logits within {worst:e}");
    assert!(worst > 0.0 && worst < 1e-1, "logits within {worst:e}");
    // Alone and after another stream, in another row of a batch: factors belong to rows as rings do.
    let mut fresh = engine_with(&f, 1, (Real::Bf16, Cache::Fp8), false);
    let want = alone(&mut fresh, RowId(0), &audio);
    let mut used = engine_with(&f, 3, (Real::Bf16, Cache::Fp8), true);
    alone(&mut used, RowId(1), &pcm(22, 17));
    used.reset_row(RowId(1), 0);
    assert_eq!(alone(&mut used, RowId(1), &audio), want);
}

#[test]
fn empty_slots_touch_no_row() {
    let f = Fixture::open("tiny-1b");
    let audio = pcm(71, 8);
    let mut warm = engine(&f, 3, Real::F32, false);
    warm.warm_up().unwrap();
    let want = alone(&mut engine(&f, 3, Real::F32, false), RowId(2), &audio);
    let (first, rest) = audio.split_at(4 * 1920);
    let mut got = alone(&mut warm, RowId(2), first);
    warm.warm_up().unwrap();
    let later = alone(&mut warm, RowId(2), rest);
    got.0.extend(later.0);
    got.1.extend(later.1);
    assert_eq!(got, want);
}

#[test]
fn audio_that_is_not_a_number_does_no_lasting_harm() {
    let f = Fixture::open("tiny-1b");
    let mut engine = engine(&f, 1, Real::F32, false);
    alone(&mut engine, RowId(0), &vec![f32::NAN; 1920]);
    let (_, pauses) = alone(&mut engine, RowId(0), &pcm(51, 10));
    assert!(pauses.iter().all(|p| p.is_finite()));
}

#[test]
fn a_step_for_rows_the_model_does_not_have_is_refused() {
    let f = Fixture::open("tiny-1b");
    let mut engine = engine(&f, 1, Real::F32, false);
    let mut out = StepOutput::default();
    let mut fits = |rows: &[RowId], audio: &[f32]| {
        let out = &mut out;
        engine.step(&mut StepIo { rows, audio, out }).is_ok()
    };
    assert!(!fits(&[RowId(1)], &[0.0; 1920]));
    assert!(!fits(&[RowId(0)], &[0.0; 100]));
    assert!(fits(&[], &[]));
}

#[test]
fn the_memory_planned_is_the_memory_taken() {
    let f = Fixture::open("tiny-1b");
    for (real, cache) in [
        (Real::F32, Cache::Plain(Real::F32)),
        (Real::Bf16, Cache::Plain(Real::Bf16)),
        (Real::Bf16, Cache::Fp8),
    ] {
        let of = |rows| engine_with(&f, rows, (real, cache), false);
        let (mut two, mut six) = (of(2), of(6));
        let taken = (six.backend().allocated() - two.backend().allocated()) / 4;
        let planned = six.plan().row + six.plan().slot;
        let (taken, over) = (taken as u64, planned as f64 / taken as f64);
        assert!(
            planned >= taken && over < 1.35,
            "{real:?}, {cache:?}: {planned} planned, {taken} taken"
        );
    }
}

#[test]
fn buckets_end_with_the_rows_and_waste_little() {
    for rows in [1, 2, 7, 64, 400, 1250] {
        let all = buckets(rows);
        assert_eq!(all.last(), Some(&rows));
        assert!(all.windows(2).all(|w| w[0] < w[1]), "{all:?}");
        for n in 33..=rows {
            let bucket = all[all.partition_point(|b| *b < n)];
            assert!(bucket < n + 128 && bucket * 3 < n * 6, "{n} in {bucket}");
        }
    }
}

#[test]
fn every_kernel_of_the_model_is_used() {
    let f = Fixture::open("tiny-1b");
    let mut engine = engine(&f, 1, Real::Bf16, false);
    alone(&mut engine, RowId(0), &pcm(1, 1));
    let used = &engine.backend().launches;
    for kernel in [
        Kernel::Unfold,
        Kernel::Remember,
        Kernel::Nearest,
        Kernel::Turn,
        Kernel::Choose,
        Kernel::EmbedBf16,
    ] {
        assert!(used.contains(&kernel), "{kernel:?}");
    }
    // A step's launches, of which a graph makes one: what a change adds shows here.
    assert!(used.len() < 200, "{} launches", used.len());
}
