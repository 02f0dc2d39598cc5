use super::fixture::{Fixture, pcm};
use crate::model::device::Device;
use crate::model::layout::dtype::KvFormat;
use crate::model::{LoadOptions, StepIo, StepOutput, StreamModel, load};
use crate::stream::ids::RowId;

const STREAMS: [(u32, usize); 4] = [(11, 60), (12, 35), (13, 80), (14, 20)];

fn model(f: &Fixture, rows: usize) -> Box<dyn StreamModel> {
    load(
        &f.config,
        LoadOptions {
            rows,
            threads: 2,
            device: Device::Cpu,
        },
    )
    .unwrap()
    .model
}

fn step(model: &mut dyn StreamModel, rows: &[RowId], audio: &[&[f32]]) -> (Vec<u32>, Vec<f32>) {
    let mut out = StepOutput::default();
    model
        .step(&mut StepIo {
            rows,
            audio: &audio.concat(),
            out: &mut out,
        })
        .unwrap();
    (out.tokens, out.pauses)
}

// Tokens and pause probabilities of one stream alone in `row`.
fn alone(model: &mut dyn StreamModel, row: RowId, audio: &[f32]) -> (Vec<u32>, Vec<f32>) {
    let (mut tokens, mut pauses) = (Vec::new(), Vec::new());
    for frame in audio.chunks_exact(1920) {
        let (token, pause) = step(model, &[row], &[frame]);
        tokens.extend(token);
        pauses.extend(pause);
    }
    (tokens, pauses)
}

#[test]
fn streams_that_come_and_go_get_the_references_tokens() {
    let f = Fixture::open("tiny-1b");
    let mut model = model(&f, 3);
    let mut waiting = STREAMS.map(|(seed, frames)| (seed, pcm(seed, frames))).to_vec();
    waiting.reverse();
    // Seed, audio, frames stepped, tokens so far.
    type Seat = Option<(u32, Vec<f32>, usize, Vec<u32>)>;
    let mut seats: [Seat; 3] = [None, None, None];
    let mut done = 0;
    let mut tick = 0usize;
    while done < STREAMS.len() {
        for (row, seat) in seats.iter_mut().enumerate() {
            if seat.is_none()
                && tick >= row * 7
                && let Some((seed, audio)) = waiting.pop()
            {
                model.reset_row(RowId(row as u16), 0);
                *seat = Some((seed, audio, 0, Vec::new()));
            }
        }
        // Streams stall at different moments, as they do on a network.
        let ready: Vec<usize> = (0..3)
            .filter(|row| seats[*row].is_some() && !(tick + row).is_multiple_of(row + 3))
            .collect();
        let rows: Vec<RowId> = ready.iter().map(|row| RowId(*row as u16)).collect();
        let audio: Vec<&[f32]> = ready
            .iter()
            .map(|row| {
                seats[*row]
                    .as_ref()
                    .map(|(_, audio, at, _)| &audio[at * 1920..][..1920])
                    .unwrap()
            })
            .collect();
        let (tokens, _) = step(&mut *model, &rows, &audio);
        for (row, token) in ready.into_iter().zip(tokens) {
            let seat = seats[row].as_mut().unwrap();
            seat.2 += 1;
            seat.3.push(token);
            if seat.2 * 1920 == seat.1.len() {
                let (seed, _, _, tokens) = seats[row].take().unwrap();
                assert_eq!(tokens, f.ints(&format!("stream.{seed}")), "stream {seed}");
                done += 1;
            }
        }
        tick += 1;
    }
}

#[test]
fn a_recycled_row_is_bit_equal_to_a_fresh_one() {
    let f = Fixture::open("tiny-1b");
    let audio = pcm(21, 40);
    let fresh = alone(&mut *model(&f, 1), RowId(0), &audio);
    let mut used = model(&f, 1);
    alone(&mut *used, RowId(0), &pcm(22, 53));
    used.reset_row(RowId(0), 0);
    assert_eq!(alone(&mut *used, RowId(0), &audio), fresh);
}

#[test]
fn keys_and_values_in_bf16_take_half_and_change_little() {
    let mut f = Fixture::open("tiny-1b");
    let audio = pcm(21, 12);
    let mut whole = model(&f, 1);
    f.config.kv_cache = Some(KvFormat::Bf16);
    let mut half = model(&f, 1);
    let t = &f.config.lm.transformer;
    let saved = (t.num_layers * 2 * t.context * t.d_model * 2) as u64;
    assert_eq!(whole.spec().bytes_per_row - half.spec().bytes_per_row, saved);
    // Until a token differs the streams are the same but for rounding.
    let (_, exact) = alone(&mut *whole, RowId(0), &audio);
    let (_, short) = alone(&mut *half, RowId(0), &audio);
    assert_ne!(exact, short);
    let near = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-2;
    assert!(exact.iter().zip(&short).all(near), "{exact:?}\n{short:?}");
}

#[test]
fn a_row_is_bit_equal_alone_and_among_others() {
    let f = Fixture::open("tiny-1b");
    let audio = pcm(31, 30);
    let want = alone(&mut *model(&f, 1), RowId(0), &audio);
    let mut batch = model(&f, 12);
    let rows: Vec<RowId> = [7, 2, 11, 0, 5, 9, 1, 3, 4, 10].map(RowId).to_vec();
    let others: Vec<Vec<f32>> = (0..rows.len()).map(|i| pcm(40 + i as u32, 30)).collect();
    let (mut tokens, mut pauses) = (Vec::new(), Vec::new());
    for (i, frame) in audio.chunks_exact(1920).enumerate() {
        let mut frames: Vec<&[f32]> = others.iter().map(|o| &o[i * 1920..][..1920]).collect();
        frames[6] = frame;
        let (token, pause) = step(&mut *batch, &rows, &frames);
        tokens.push(token[6]);
        pauses.extend_from_slice(&pause[6 * 4..][..4]);
    }
    assert_eq!((tokens, pauses), want);
}

#[test]
fn audio_that_is_not_a_number_does_no_lasting_harm() {
    let f = Fixture::open("tiny-1b");
    let audio = pcm(51, 20);
    let mut model = model(&f, 2);
    let bad = vec![f32::NAN; 1920];
    let quiet = alone(&mut *self::model(&f, 1), RowId(0), &vec![0.0; 1920]);
    let (tokens, _) = step(&mut *model, &[RowId(0), RowId(1)], &[&bad, &audio[..1920]]);
    assert_eq!(tokens[0], quiet.0[0]);
    let (_, pauses) = alone(&mut *model, RowId(0), &audio);
    assert!(pauses.iter().all(|p| p.is_finite()));
}

#[test]
fn sampling_depends_on_the_rows_seed() {
    let mut f = Fixture::open("tiny-1b");
    f.config.temperature = 1.5;
    let audio = pcm(61, 40);
    let draw = |seed| {
        let mut model = model(&f, 1);
        model.reset_row(RowId(0), seed);
        alone(&mut *model, RowId(0), &audio).0
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}

#[test]
fn a_step_for_rows_the_model_does_not_have_is_refused() {
    let f = Fixture::open("tiny-1b");
    let mut model = model(&f, 1);
    let mut out = StepOutput::default();
    for (row, samples) in [(1, 1920), (0, 100)] {
        let io = &mut StepIo {
            rows: &[RowId(row)],
            audio: &vec![0.0; samples],
            out: &mut out,
        };
        assert!(model.step(io).is_err(), "row {row}, {samples} samples");
    }
}
