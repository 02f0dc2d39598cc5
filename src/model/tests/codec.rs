//! Mimi's decoder against the reference's audio (see `tools/reference/codec.py`), and rows against each other.

use super::fixture::{Expected, folder, relative_error};
use crate::model::cpu::{MimiDecoder, Pool};
use crate::model::layout::memory::MemoryPlan;
use crate::model::layout::mimi::MimiConfig;
use crate::model::weights::Weights;
use crate::stream::ids::RowId;

/// Relative to the largest sample, in f32.
const TOLERANCE: f32 = 1e-4;
const FRAME: usize = 1920;

/// Fixtures and the codebooks that their codes have.
const CASES: [(&str, usize); 2] = [("codec-plain", 32), ("codec-normed", 9)];

struct Decoder {
    decoder: MimiDecoder,
    pool: Pool,
    books: usize,
}

impl Decoder {
    fn open(name: &str, books: usize, rows: usize) -> Self {
        let w = Weights::open(&folder(name).join("mimi.safetensors")).unwrap();
        let config = MimiConfig::of(&w).unwrap();
        Self {
            decoder: MimiDecoder::load(&w, &config, books, rows).unwrap(),
            pool: Pool::new(2).unwrap(),
            books,
        }
    }

    fn step(&mut self, rows: &[RowId], codes: &[u32]) -> Vec<f32> {
        let mut audio = vec![f32::NAN; rows.len() * FRAME];
        self.decoder
            .decode(&mut self.pool, rows, codes, &mut audio)
            .unwrap();
        audio
    }

    // Audio of a stream alone in `row`.
    fn alone(&mut self, row: RowId, codes: &[u32]) -> Vec<f32> {
        let frames = codes.chunks_exact(self.books);
        frames.flat_map(|codes| self.step(&[row], codes)).collect()
    }
}

// Codes of a stream: any numbers that the fixtures' codebooks have entries for.
fn codes(seed: u32, frames: usize, books: usize) -> Vec<u32> {
    let mut state = seed;
    let code = |_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 16) % 24
    };
    (0..frames * books).map(code).collect()
}

#[test]
fn audio_is_the_references_frame_by_frame_and_all_at_once() {
    for (name, books) in CASES {
        let expected = Expected::open(&folder(name));
        let audio = Decoder::open(name, books, 1).alone(RowId(0), &expected.ints("codes"));
        let shown = expected.ints("shown");
        let frame = |i: &u32| &audio[*i as usize * FRAME..][..FRAME];
        let streamed: Vec<f32> = shown.iter().flat_map(frame).copied().collect();
        let error = relative_error(&streamed, &expected.floats("audio"));
        assert!(
            error < TOLERANCE,
            "{name}: audio differs by {error:e} frame by frame"
        );
        let whole = expected.floats("whole.audio");
        let error = relative_error(&audio[..whole.len()], &whole);
        assert!(
            error < TOLERANCE,
            "{name}: audio differs by {error:e} from all at once"
        );
    }
}

#[test]
fn one_codebook_gives_the_references_audio_without_the_chain_of_the_others() {
    let (name, books) = CASES[1];
    let expected = Expected::open(&folder(name));
    let first: Vec<u32> = expected.ints("codes").into_iter().step_by(books).collect();
    let want = expected.floats("first.audio");
    let audio = Decoder::open(name, 1, 1).alone(RowId(0), &first[..want.len() / FRAME]);
    let error = relative_error(&audio, &want);
    assert!(error < TOLERANCE, "audio differs by {error:e}");
}

#[test]
fn a_row_is_bit_equal_alone_and_among_others() {
    let (name, books) = CASES[0];
    let stream = codes(1, 60, books);
    let want = Decoder::open(name, books, 1).alone(RowId(0), &stream);
    // More rows than are convolved together, in no order; some of them stay away from some steps.
    let mut batch = Decoder::open(name, books, 12);
    let ids = [7, 2, 11, 0, 5, 9, 1, 3, 4, 10];
    let others = ids.map(|id| codes(40 + u32::from(id), 60, books));
    let mut got = Vec::new();
    for (i, frame) in stream.chunks_exact(books).enumerate() {
        let here = |id: u16| id == 9 || !(i + usize::from(id)).is_multiple_of(3);
        let rows: Vec<RowId> = ids.iter().copied().filter(|id| here(*id)).map(RowId).collect();
        let frames = ids.iter().zip(&others).filter(|(id, _)| here(**id));
        let frames = frames.flat_map(|(id, other)| match id {
            9 => frame,
            _ => &other[i * books..][..books],
        });
        let audio = batch.step(&rows, &frames.copied().collect::<Vec<u32>>());
        let place = rows.iter().position(|row| *row == RowId(9)).unwrap();
        got.extend_from_slice(&audio[place * FRAME..][..FRAME]);
    }
    assert_eq!(got, want);
}

#[test]
fn a_row_that_stays_away_from_steps_goes_on_where_it_was() {
    let (name, books) = CASES[1];
    let streams = [codes(1, 20, books), codes(2, 20, books)];
    let want = Decoder::open(name, books, 1).alone(RowId(0), &streams[0]);
    let mut pair = Decoder::open(name, books, 2);
    let mut got = Vec::new();
    for (i, frame) in streams[0].chunks_exact(books).enumerate() {
        let other = &streams[1][i * books..][..books];
        pair.step(&[RowId(1)], other);
        got.extend(pair.step(&[RowId(0)], frame));
    }
    assert_eq!(got, want);
}

#[test]
fn a_recycled_row_is_bit_equal_to_a_fresh_one() {
    for (name, books) in CASES {
        let stream = codes(3, 30, books);
        let fresh = Decoder::open(name, books, 1).alone(RowId(0), &stream);
        let mut used = Decoder::open(name, books, 2);
        used.alone(RowId(1), &codes(4, 37, books));
        assert_ne!(used.alone(RowId(1), &stream), fresh, "{name}: a past is heard");
        used.decoder.reset_row(RowId(1));
        assert_eq!(used.alone(RowId(1), &stream), fresh, "{name}");
    }
}

#[test]
fn what_does_not_fit_is_refused_and_moves_no_row_on() {
    let (name, books) = CASES[1];
    let mut d = Decoder::open(name, books, 2);
    let mut audio = vec![0.0; 2 * FRAME];
    let (good, mut bad) = (codes(1, 2, books), codes(1, 2, books));
    bad[books + 3] = 24;
    let rows = [RowId(0), RowId(1)];
    let mut refused = |rows: &[RowId], codes: &[u32], audio: &mut [f32]| {
        let result = d.decoder.decode(&mut d.pool, rows, codes, audio);
        result.expect_err("refused").to_string()
    };
    let message = refused(&rows, &bad, &mut audio);
    assert!(message.contains("code 24") && message.contains("24"), "{message}");
    refused(&[RowId(0), RowId(2)], &good, &mut audio);
    refused(&rows, &good[..books], &mut audio);
    refused(&rows, &good, &mut audio[..FRAME]);
    let fresh = Decoder::open(name, books, 1).alone(RowId(0), &good);
    assert_eq!(d.alone(RowId(1), &good), fresh);
}

#[test]
fn a_file_without_a_decoder_is_refused_with_the_tensor_it_lacks() {
    let path = folder("tiny-1b").join("mimi.safetensors");
    let w = Weights::open(&path).unwrap();
    let config = MimiConfig::of(&w).unwrap();
    let error = MimiDecoder::load(&w, &config, 8, 1).err().unwrap().to_string();
    assert!(
        error.contains("mimi.safetensors") && error.contains("upsample"),
        "{error}"
    );
}

#[test]
fn the_plan_counts_the_decoders_weights_and_rows() {
    for (name, _) in CASES {
        let w = Weights::open(&folder(name).join("mimi.safetensors")).unwrap();
        let config = MimiConfig::of(&w).unwrap();
        let q = &config.quantizer;
        // The files have the encoder's projections, too, and a flag per codebook.
        let mut unused = 2 * q.dimension * config.dimension + q.n_q;
        if name == "codec-normed" {
            // Lengths beside directions: one per output channel, of a transposed convolution one per input channel.
            unused += [48, 48, 24, 12, 6, 1].iter().sum::<usize>();
        }
        assert_eq!(
            config.decoder_values(q.n_q) + unused as u64,
            w.elements(),
            "{name}"
        );
        let plan = MemoryPlan::cpu_decoder(&config, q.n_q, 4);
        assert_eq!(plan.weights, 4 * config.decoder_values(q.n_q));
        let rings = config.transformer.num_layers * 2 * config.transformer.context * config.dimension * 4;
        assert!(plan.row > rings as u64, "{name}: {plan:?}");
    }
}
