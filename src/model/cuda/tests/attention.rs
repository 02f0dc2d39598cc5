//! Attention over split rings against a plain softmax in f64, for rows of all ages.

use half::bf16;

use crate::model::cuda::args::{AttendArgs, CombineArgs, Kernel, SPLIT, Slot, VACANT};
use crate::model::cuda::backend::{Backend, Ptr, Real};
use crate::model::cuda::emulator::Emulator;

fn noise(n: usize, seed: u32) -> Vec<f32> {
    let mut s = seed.wrapping_mul(2_654_435_761).max(1);
    let mut next = || {
        s = s.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (s >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n).map(|_| next()).collect()
}

fn bytes_of(values: &[f32], real: Real) -> Vec<u8> {
    match real {
        Real::F32 => values.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Real::Bf16 => values
            .iter()
            .flat_map(|x| bf16::from_f32(*x).to_le_bytes())
            .collect(),
    }
}

fn put(e: &mut Emulator, bytes: &[u8]) -> Ptr {
    let at = e.alloc(bytes.len()).unwrap();
    e.write(at, bytes).unwrap();
    at
}

fn slots(rows: &[(u32, u64)]) -> Vec<u8> {
    let one = |(row, position): &(u32, u64)| {
        let mut bytes = [0u8; size_of::<Slot>()];
        bytes[..8].copy_from_slice(&position.to_le_bytes());
        bytes[16..20].copy_from_slice(&row.to_le_bytes());
        bytes
    };
    rows.iter().flat_map(one).collect()
}

struct Case {
    real: Real,
    head_dim: usize,
    heads: usize,
    context: usize,
    tokens: usize,
}

// Softmax over the ring places whose absolute position the query may see.
fn plain(c: &Case, q: &[f32], keys: &[f32], values: &[f32], step: u64, t: usize) -> Vec<f64> {
    let (tokens, context) = (c.tokens as u64, c.context as u64);
    let (now, end) = (step * tokens + t as u64, (step + 1) * tokens);
    // After the step's tokens are stored, place p holds the last position that is p modulo the context.
    let held = |place: u64| (0..end).rev().take(c.context).find(|p| p % context == place);
    let seen = (0..context).filter(|place| held(*place).is_some_and(|p| p <= now));
    let score = |place: u64| -> f64 {
        let k = &keys[place as usize * c.head_dim..][..c.head_dim];
        let dot: f64 = q.iter().zip(k).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum();
        dot / (c.head_dim as f64).sqrt()
    };
    let scored: Vec<(u64, f64)> = seen.map(|place| (place, score(place).exp())).collect();
    let total: f64 = scored.iter().map(|(_, w)| w).sum();
    (0..c.head_dim)
        .map(|d| {
            let of = |(place, w): &(u64, f64)| w * f64::from(values[*place as usize * c.head_dim + d]);
            scored.iter().map(of).sum::<f64>() / total
        })
        .collect()
}

fn check(c: &Case, ages: &[(u32, u64)], backwards: bool) {
    let mut e = Emulator::new();
    e.backwards = backwards;
    let (rows, dim) = (4, c.heads * c.head_dim);
    let ring = c.heads * c.context * c.head_dim;
    let round = |x: Vec<f32>| match c.real {
        Real::F32 => x,
        Real::Bf16 => x.into_iter().map(|x| bf16::from_f32(x).to_f32()).collect(),
    };
    let (keys, values) = (round(noise(rows * ring, 1)), round(noise(rows * ring, 2)));
    let qkv: Vec<f32> = noise(ages.len() * c.tokens * 3 * dim, 3)
        .iter()
        .map(|x| x * 4.0)
        .collect();
    let splits = c.context.div_ceil(SPLIT);
    let queries = ages.len() * c.tokens;
    let args = AttendArgs {
        slots: put(&mut e, &slots(ages)),
        qkv: put(&mut e, &bytes_of(&qkv, Real::F32)),
        keys: put(&mut e, &bytes_of(&keys, c.real)),
        values: put(&mut e, &bytes_of(&values, c.real)),
        out: e.alloc(queries * dim * c.real.bytes()).unwrap(),
        partial: e
            .alloc(queries * c.heads * splits * (c.head_dim + 2) * 4)
            .unwrap(),
        tokens: c.tokens as u32,
        heads: c.heads as u32,
        context: c.context as u32,
        splits: splits as u32,
        scale: 1.0 / (c.head_dim as f32).sqrt(),
        unused: 0,
    };
    e.launch(
        Kernel::attend(c.real, c.head_dim).unwrap(),
        [splits, c.heads, queries],
        args,
    );
    if splits > 1 {
        let combine = CombineArgs {
            slots: args.slots,
            partial: args.partial,
            out: args.out,
            tokens: args.tokens,
            heads: args.heads,
            head_dim: c.head_dim as u32,
            context: args.context,
            splits: args.splits,
            unused: 0,
        };
        let kernel = Kernel::of(c.real, Kernel::CombineF32, Kernel::CombineBf16);
        e.launch(kernel, [c.heads, queries, 1], combine);
    }
    e.finish().unwrap();
    let mut out = vec![0; queries * dim * c.real.bytes()];
    e.read(args.out, &mut out).unwrap();
    let got: Vec<f32> = match c.real {
        Real::F32 => out
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        Real::Bf16 => out
            .chunks_exact(2)
            .map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32())
            .collect(),
    };
    let tolerance = if c.real == Real::F32 { 2e-6 } else { 4e-3 };
    for (n, (row, step)) in ages.iter().enumerate().filter(|(_, (row, _))| *row != VACANT) {
        for t in 0..c.tokens {
            for head in 0..c.heads {
                let token = n * c.tokens + t;
                let at = (*row as usize * c.heads + head) * c.context * c.head_dim;
                let part = c.context * c.head_dim;
                let q = &qkv[token * 3 * dim + head * c.head_dim..][..c.head_dim];
                let want = plain(c, q, &keys[at..][..part], &values[at..][..part], *step, t);
                let got = &got[token * dim + head * c.head_dim..][..c.head_dim];
                for (g, w) in got.iter().zip(&want) {
                    assert!(
                        (f64::from(*g) - w).abs() < tolerance,
                        "row {row} at step {step}, token {t}, head {head}: {g} for {w}"
                    );
                }
            }
        }
    }
}

#[test]
fn split_rings_are_one_softmax_for_rows_of_all_ages() {
    for (real, head_dim, context) in [
        (Real::F32, 128, 750),
        (Real::Bf16, 128, 750),
        (Real::F32, 64, 375),
        (Real::Bf16, 64, 375),
        (Real::F32, 32, 257),
        (Real::F32, 8, 256),
        (Real::F32, 16, 20),
    ] {
        let c = Case {
            real,
            head_dim,
            heads: 2,
            context,
            tokens: 1,
        };
        let full = context as u64;
        check(&c, &[(2, 0), (VACANT, 0), (0, 255), (3, full - 1)], false);
        check(&c, &[(1, 256), (3, full), (0, full * 5 + 300)], true);
    }
}

// The first of two tokens must not see the place that the second has just taken, wherever in the ring that is: the first
// place of a split, alone in it, or past the end.
#[test]
fn of_two_tokens_the_first_does_not_see_the_second() {
    for context in [20, 250, 257, 512] {
        let c = Case {
            real: Real::F32,
            head_dim: 64,
            heads: 1,
            context,
            tokens: 2,
        };
        let near = context as u64 / 2;
        check(&c, &[(0, 0), (1, near - 1), (2, near), (3, near + 1)], false);
        check(
            &c,
            &[(0, 127), (1, 128), (2, context as u64 * 3 + 7), (3, 255)],
            true,
        );
    }
}
