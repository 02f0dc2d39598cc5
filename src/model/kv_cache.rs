//! Keys and values of the last `context` positions of every row, as rings; rotary positions; attention over them.

use half::bf16;

use super::cpu::pool::Pool;
use super::cpu::{self, Hidden, SyncPtr};
use crate::stream::ids::RowId;

/// Multiply-adds of attention below which one thread is faster than several.
const PARALLEL_FROM: usize = 200_000;

/// Rotary position embedding with interleaved pairs (RoFormer, arXiv:2104.09864): cosines and sines of this step.
pub(crate) struct Rope {
    frequencies: Vec<f64>,
    /// `(cos, sin)` per token of the step and pair.
    turns: Vec<(f32, f32)>,
}

impl Rope {
    pub(crate) fn new(head_dim: usize, max_period: f64, tokens: usize) -> Self {
        let pairs = head_dim / 2;
        let frequency = |i: usize| max_period.powf(-(i as f64) / pairs as f64);
        Self {
            frequencies: (0..pairs).map(frequency).collect(),
            turns: vec![(1.0, 0.0); tokens * pairs],
        }
    }

    /// Computes the angles of the step's tokens. In f64: after hours of audio an f32 angle has lost its fraction.
    pub(crate) fn turn_to(&mut self, positions: impl Iterator<Item = u64>) {
        let pairs = self.frequencies.len();
        for (turns, position) in self.turns.chunks_exact_mut(pairs).zip(positions) {
            for (turn, frequency) in turns.iter_mut().zip(&self.frequencies) {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                *turn = (cos as f32, sin as f32);
            }
        }
    }

    fn rotate(&self, token: usize, head: &mut [f32]) {
        let pairs = self.frequencies.len();
        for (pair, (cos, sin)) in head.chunks_exact_mut(2).zip(&self.turns[token * pairs..]) {
            let (a, b) = (pair[0], pair[1]);
            pair[0] = a * cos - b * sin;
            pair[1] = a * sin + b * cos;
        }
    }
}

/// How keys and values are held. What is computed with them is f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum CacheFormat {
    F32,
    /// Half the memory, and half of what attention reads of it.
    Bf16,
}

impl CacheFormat {
    /// Bytes of one number.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::Bf16 => 2,
        }
    }
}

struct Rings<T> {
    keys: Vec<T>,
    values: Vec<T>,
}

/// Rings of one layer; bf16 as its bits, so that zeroed memory need not be touched.
enum Layer {
    F32(Rings<f32>),
    Bf16(Rings<u16>),
}

impl Layer {
    fn new(format: CacheFormat, size: usize) -> Self {
        match format {
            CacheFormat::F32 => Self::F32(Rings {
                keys: vec![0.0; size],
                values: vec![0.0; size],
            }),
            CacheFormat::Bf16 => Self::Bf16(Rings {
                keys: vec![0; size],
                values: vec![0; size],
            }),
        }
    }

    /// Stores one key and one value of a head.
    fn put(&mut self, at: usize, key: &[f32], value: &[f32]) {
        match self {
            Self::F32(rings) => {
                rings.keys[at..][..key.len()].copy_from_slice(key);
                rings.values[at..][..value.len()].copy_from_slice(value);
            }
            Self::Bf16(rings) => {
                for (ring, vector) in [(&mut rings.keys, key), (&mut rings.values, value)] {
                    let places = ring[at..].iter_mut().zip(vector);
                    places.for_each(|(to, x)| *to = bf16::from_f32(*x).to_bits());
                }
            }
        }
    }
}

/// Rings of every layer, `[row][head][context][head_dim]` each: what one attention task reads is contiguous.
///
/// Only memory of rows that were used is ever touched, so an idle row costs address space, not pages.
pub(crate) struct KvCache {
    layers: Vec<Layer>,
    positions: Vec<u64>,
    heads: usize,
    context: usize,
    head_dim: usize,
    /// Scratch: scores of one task, for all tasks of a step.
    scores: Vec<f32>,
}

impl KvCache {
    pub(crate) fn new(
        rows: usize,
        layers: usize,
        (heads, context, head_dim): (usize, usize, usize),
        format: CacheFormat,
    ) -> Self {
        let size = rows * heads * context * head_dim;
        Self {
            layers: (0..layers).map(|_| Layer::new(format, size)).collect(),
            positions: vec![0; rows],
            heads,
            context,
            head_dim,
            scores: vec![0.0; rows * heads * context.next_multiple_of(8)],
        }
    }

    /// Tokens `row` has seen.
    pub(crate) fn position(&self, row: RowId) -> u64 {
        self.positions[row.index()]
    }

    /// Old keys and values stay where they are: positions say what is live.
    pub(crate) fn reset_row(&mut self, row: RowId) {
        let Self {
            layers: _,
            positions,
            heads: _,
            context: _,
            head_dim: _,
            scores: _,
        } = self;
        positions[row.index()] = 0;
    }

    /// Moves `rows` on by `tokens`, once all layers have been written.
    pub(crate) fn advance(&mut self, rows: &[RowId], tokens: usize) {
        rows.iter()
            .for_each(|row| self.positions[row.index()] += tokens as u64);
    }

    /// Rotates queries and keys of `qkv` (`rows × tokens × 3·dim`) and stores keys and values of the new tokens.
    pub(crate) fn append(
        &mut self,
        layer: usize,
        rows: &[RowId],
        tokens: usize,
        rope: &Rope,
        qkv: &mut [f32],
    ) {
        let (hd, dim) = (self.head_dim, self.heads * self.head_dim);
        let rings = &mut self.layers[layer];
        for (i, token) in qkv
            .chunks_exact_mut(3 * dim)
            .take(rows.len() * tokens)
            .enumerate()
        {
            let row = rows[i / tokens].index();
            let slot = ((self.positions[row] + (i % tokens) as u64) % self.context as u64) as usize;
            let (q, kv) = token.split_at_mut(dim);
            let (k, v) = kv.split_at_mut(dim);
            for head in 0..self.heads {
                rope.rotate(i, &mut q[head * hd..][..hd]);
                rope.rotate(i, &mut k[head * hd..][..hd]);
                let at = ((row * self.heads + head) * self.context + slot) * hd;
                rings.put(at, &k[head * hd..][..hd], &v[head * hd..][..hd]);
            }
        }
    }

    /// Attention of the new tokens over each row's live positions, into `out` (`rows × tokens × dim`).
    ///
    /// As in the reference, all tokens of a step are stored first: when the ring is full, the first of two tokens sees
    /// `context - 1` positions.
    pub(crate) fn attend(
        &mut self,
        pool: &mut Pool,
        layer: usize,
        rows: &[RowId],
        tokens: usize,
        qkv: &[f32],
        out: &mut [f32],
    ) {
        let (heads, hd, context) = (self.heads, self.head_dim, self.context);
        let dim = heads * hd;
        let per_task = context.next_multiple_of(8);
        let (rings, positions) = (&self.layers[layer], &self.positions);
        assert!(rows.len() * heads * per_task <= self.scores.len() && rows.len() * tokens * dim <= out.len());
        let (scores, out) = (SyncPtr(self.scores.as_mut_ptr()), SyncPtr(out.as_mut_ptr()));
        let task = |i: usize| {
            let (n, head) = (i / heads, i % heads);
            let row = rows[n].index();
            let end = positions[row] + tokens as u64;
            let ring = (row * heads + head) * context * hd;
            // SAFETY: task `i` alone uses its part of the scratch.
            let scores = unsafe { scores.slice(i * per_task, per_task) };
            for t in 0..tokens {
                let position = positions[row] + t as u64;
                let (live, hidden) = if end <= context as u64 {
                    (position as usize + 1, Hidden::default())
                } else {
                    (
                        context,
                        Hidden {
                            start: ((position + 1) % context as u64) as usize,
                            len: tokens - 1 - t,
                        },
                    )
                };
                let token = n * tokens + t;
                let q = &qkv[token * 3 * dim + head * hd..][..hd];
                // SAFETY: each task writes the `head` part of its own row's tokens.
                let out = unsafe { out.slice(token * dim + head * hd, hd) };
                let seen = ring..ring + live * hd;
                match rings {
                    Layer::F32(r) => {
                        cpu::attend(q, &r.keys[seen.clone()], &r.values[seen], hidden, scores, out);
                    }
                    Layer::Bf16(r) => {
                        cpu::attend_bf16(q, &r.keys[seen.clone()], &r.values[seen], hidden, scores, out);
                    }
                }
            }
        };
        let tasks = rows.len() * heads;
        let live = rows
            .iter()
            .map(|r| (self.positions[r.index()] as usize + tokens).min(context))
            .sum::<usize>();
        if live * tokens * dim * 2 < PARALLEL_FROM {
            (0..tasks).for_each(task)
        } else {
            pool.run(tasks, &task)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADS: usize = 2;
    const CONTEXT: usize = 6;
    const WIDTH: usize = 40;
    const DIM: usize = HEADS * WIDTH;

    // What attention gives over `steps` steps of rows 2 and 0, unrotated; row 2 starts anew at step 4.
    fn run(format: CacheFormat, round: bool) -> Vec<f32> {
        let mut cache = KvCache::new(3, 2, (HEADS, CONTEXT, WIDTH), format);
        let (mut pool, rope) = (Pool::new(1).unwrap(), Rope::new(WIDTH, 100.0, 2));
        let rows = [RowId(2), RowId(0)];
        let mut all = Vec::new();
        for step in 0..3 * CONTEXT {
            if step == 4 {
                cache.reset_row(RowId(2));
            }
            let value = |i: usize| (((i + 7 * step) * 7919 % 1000) as f32 / 500.0 - 1.0) * 1.7;
            let rounded = |x: f32| if round { bf16::from_f32(x).to_f32() } else { x };
            for layer in 0..2 {
                let mut qkv: Vec<f32> = (0..rows.len() * 3 * DIM)
                    .map(|i| rounded(value(i + layer)))
                    .collect();
                cache.append(layer, &rows, 1, &rope, &mut qkv);
                let mut out = vec![0.0; rows.len() * DIM];
                cache.attend(&mut pool, layer, &rows, 1, &qkv, &mut out);
                all.extend(out);
            }
            cache.advance(&rows, 1);
        }
        all
    }

    #[test]
    fn bf16_rounds_what_it_holds_and_nothing_else() {
        assert_eq!(run(CacheFormat::Bf16, true), run(CacheFormat::F32, true));
        let (short, exact) = (run(CacheFormat::Bf16, false), run(CacheFormat::F32, false));
        assert_ne!(short, exact);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-2;
        assert!(short.iter().zip(&exact).all(near));
    }
}
