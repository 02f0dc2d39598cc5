//! Attention over split rings against a plain softmax in f64, for rows of all ages.

use half::bf16;

use crate::model::cuda::backend::{Backend, Ptr};
use crate::model::cuda::emulator::Emulator;
use crate::model::cuda::kernels::{AppendArgs, AttendArgs, CombineArgs, Kernel, Slot, VACANT};
use crate::model::layout::dtype::{Cache, Real};
use crate::model::layout::memory::SPLIT;

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

/// What an fp8 stands for, by the format's definition.
fn fp8_value(bits: u8) -> f32 {
    let (exponent, mantissa) = (i32::from(bits >> 3 & 15), f32::from(bits & 7));
    let size = match exponent {
        0 => mantissa / 8.0 * 2.0f32.powi(-6),
        _ => (1.0 + mantissa / 8.0) * 2.0f32.powi(exponent - 7),
    };
    if bits & 0x80 > 0 { -size } else { size }
}

/// Rings of `cache` with `values`, vectors of `head_dim`: their bytes, their factors, and what they stand for. An fp8 is
/// any at all here, and a factor any of five powers of two.
fn ring(values: Vec<f32>, cache: Cache, (head_dim, power): (usize, i32)) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
    let Cache::Plain(real) = cache else {
        let bits = |x: &f32| ((x + 1.0) * 128.0) as u8;
        // the two that are not numbers are never stored
        let bytes: Vec<u8> = values
            .iter()
            .map(bits)
            .map(|b| if b & 0x7f == 0x7f { 0 } else { b })
            .collect();
        let factors: Vec<f32> = (0..values.len() / head_dim)
            .map(|i| 2.0f32.powi(power + i as i32 % 5))
            .collect();
        let stands = bytes
            .iter()
            .enumerate()
            .map(|(i, b)| fp8_value(*b) * factors[i / head_dim]);
        let stands = stands.collect();
        return (bytes, factors, stands);
    };
    let stands = match real {
        Real::F32 => values,
        Real::Bf16 => values.into_iter().map(|x| bf16::from_f32(x).to_f32()).collect(),
    };
    (bytes_of(&stands, real), Vec::new(), stands)
}

struct Case {
    cache: Cache,
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
    let real = match c.cache {
        Cache::Plain(real) => real,
        Cache::Fp8 => Real::Bf16,
    };
    let size = rows * c.heads * c.context * c.head_dim;
    let (key_bytes, key_factors, keys) = ring(noise(size, 1), c.cache, (c.head_dim, -10));
    let (value_bytes, value_factors, values) = ring(noise(size, 2), c.cache, (c.head_dim, -13));
    let qkv: Vec<f32> = noise(ages.len() * c.tokens * 3 * dim, 3)
        .iter()
        .map(|x| x * 4.0)
        .collect();
    let splits = c.context.div_ceil(SPLIT);
    let queries = ages.len() * c.tokens;
    let args = AttendArgs {
        slots: put(&mut e, &slots(ages)),
        qkv: put(&mut e, &bytes_of(&qkv, Real::F32)),
        keys: put(&mut e, &key_bytes),
        values: put(&mut e, &value_bytes),
        key_factors: put(&mut e, &bytes_of(&key_factors, Real::F32)),
        value_factors: put(&mut e, &bytes_of(&value_factors, Real::F32)),
        out: e.alloc(queries * dim * real.bytes()).unwrap(),
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
        Kernel::attend(c.cache, c.head_dim).unwrap(),
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
        let kernel = Kernel::of(real, Kernel::CombineF32, Kernel::CombineBf16);
        e.launch(kernel, [c.heads, queries, 1], combine);
    }
    e.finish().unwrap();
    let mut out = vec![0; queries * dim * real.bytes()];
    e.read(args.out, &mut out).unwrap();
    let got: Vec<f32> = match real {
        Real::F32 => out
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
        Real::Bf16 => out
            .chunks_exact(2)
            .map(|b| bf16::from_le_bytes(b.try_into().unwrap()).to_f32())
            .collect(),
    };
    let tolerance = if real == Real::F32 { 2e-6 } else { 4e-3 };
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
    let (f32, bf16) = (Cache::Plain(Real::F32), Cache::Plain(Real::Bf16));
    for (cache, head_dim, context) in [
        (f32, 128, 750),
        (bf16, 128, 750),
        (Cache::Fp8, 128, 750),
        (f32, 64, 375),
        (bf16, 64, 375),
        (Cache::Fp8, 64, 375),
        (f32, 32, 257),
        (f32, 8, 256),
        (f32, 16, 20),
        (Cache::Fp8, 16, 20),
    ] {
        let c = Case {
            cache,
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
            cache: Cache::Plain(Real::F32),
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

// Against the same keys and values in f32: each within half a step of its exponent, and queries bit-equal.
#[test]
fn eight_bits_hold_a_vector_to_one_part_in_sixteen_of_each_value() {
    for head_dim in [8, 64, 128] {
        let (heads, context, rows) = (3, 5, 3);
        let dim = heads * head_dim;
        let mut e = Emulator::new();
        let ages = [(2, 7), (VACANT, 0), (0, 0)];
        let mut qkv = noise(ages.len() * 3 * dim, 5);
        // one key of nothing, one of huge and tiny values
        qkv[dim..dim + head_dim].fill(0.0);
        qkv[2 * dim..2 * dim + head_dim]
            .iter_mut()
            .enumerate()
            .for_each(|(i, x)| *x *= 10.0f32.powi((i % 9) as i32 - 4));
        let turns: Vec<f32> = (0..ages.len() * head_dim / 2)
            .flat_map(|i| [(i as f32).cos(), (i as f32).sin()])
            .collect();
        let vectors = rows * heads * context;
        let mut run = |cache: Cache| {
            let mut args = AppendArgs {
                slots: put(&mut e, &slots(&ages)),
                turns: put(&mut e, &bytes_of(&turns, Real::F32)),
                qkv: put(&mut e, &bytes_of(&qkv, Real::F32)),
                keys: Ptr::NULL,
                values: Ptr::NULL,
                key_factors: Ptr::NULL,
                value_factors: Ptr::NULL,
                tokens: 1,
                heads: heads as u32,
                head_dim: head_dim as u32,
                context: context as u32,
            };
            let width = if cache == Cache::Fp8 { 1 } else { 4 };
            for at in [&mut args.keys, &mut args.values] {
                *at = put(&mut e, &vec![0; vectors * head_dim * width]);
            }
            for at in [&mut args.key_factors, &mut args.value_factors] {
                *at = put(&mut e, &vec![0; vectors * 4]);
            }
            e.launch(Kernel::append(cache), [1, ages.len(), 1], args);
            e.finish().unwrap();
            let mut get = |at: Ptr, n: usize| {
                let mut bytes = vec![0; n];
                e.read(at, &mut bytes).unwrap();
                bytes
            };
            let floats = |bytes: Vec<u8>| -> Vec<f32> {
                let words = bytes.chunks_exact(4);
                words.map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
            };
            let queries = floats(get(args.qkv, qkv.len() * 4));
            let rings =
                [(args.keys, args.key_factors), (args.values, args.value_factors)].map(|(at, factors)| {
                    let bytes = get(at, vectors * head_dim * width);
                    match cache {
                        Cache::Plain(_) => floats(bytes),
                        Cache::Fp8 => {
                            let factors = floats(get(factors, vectors * 4));
                            let of = |(i, b): (usize, &u8)| fp8_value(*b) * factors[i / head_dim];
                            bytes.iter().enumerate().map(of).collect()
                        }
                    }
                });
            (queries, rings)
        };
        let (queries, exact) = run(Cache::Plain(Real::F32));
        let (same, short) = run(Cache::Fp8);
        assert_eq!(queries, same);
        for (exact, short) in exact.iter().zip(&short) {
            assert!(exact.iter().any(|x| *x != 0.0));
            for (exact, short) in exact.chunks_exact(head_dim).zip(short.chunks_exact(head_dim)) {
                let most = exact.iter().fold(0.0f32, |m, x| m.max(x.abs()));
                for (want, got) in exact.iter().zip(short) {
                    // half of the last place: of three bits of mantissa, or of the smallest exponent
                    let step = (want.abs() / 16.0).max(most / 448.0 * 2.0f32.powi(-10));
                    assert!(
                        (want - got).abs() <= step * 1.001,
                        "{got} for {want}, largest {most}"
                    );
                }
            }
        }
    }
}
