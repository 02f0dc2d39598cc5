//! Keys and values of the last `context` positions of every row, as rings; rotary positions; attention over them.

use super::kernels::Hidden;
use super::kernels::pool::Pool;
use super::kernels::strips::{StripLayout, Strips};
use super::key_values::KeyValues;
use crate::model::layout::dtype::Real;
use crate::model::layout::transformer::Shape;
use crate::stream::ids::RowId;

/// Multiply-adds of attention below which one thread is faster than several.
const PARALLEL_FROM: usize = 200_000;

/// Rotary position embedding with interleaved pairs (RoFormer, arXiv:2104.09864): cosines and sines of this step.
pub(super) struct Rope {
    frequencies: Vec<f64>,
    /// `(cos, sin)` per token of the step and pair.
    turns: Vec<(f32, f32)>,
}

impl Rope {
    /// Makes room for the angles of `tokens` tokens.
    pub(super) fn new(frequencies: Vec<f64>, tokens: usize) -> Self {
        Self {
            turns: vec![(1.0, 0.0); tokens * frequencies.len()],
            frequencies,
        }
    }

    /// Computes the angles of the step's tokens. In f64: after hours of audio an f32 angle has lost its fraction.
    pub(super) fn turn_to(&mut self, positions: impl Iterator<Item = u64>) {
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

/// Rings of every layer, `[row][head][context][head_dim]` each: what one attention task reads is contiguous.
///
/// Only memory of rows that were used is ever touched, so an idle row costs address space, not pages.
pub(super) struct KvCache {
    layers: Vec<KeyValues>,
    positions: Vec<u64>,
    heads: usize,
    context: usize,
    head_dim: usize,
    /// Tokens per row and step.
    tokens: usize,
    /// Scratch: scores of one task, for all tasks of a step.
    scores: Vec<f32>,
}

impl KvCache {
    /// Makes empty rings for `rows` rows.
    pub(super) fn new(rows: usize, shape: &Shape, format: Real) -> Self {
        let (heads, context, head_dim) = (shape.heads, shape.context, shape.head_dim());
        let size = rows * heads * context * head_dim;
        Self {
            layers: (0..shape.layers).map(|_| KeyValues::new(format, size)).collect(),
            positions: vec![0; rows],
            heads,
            context,
            head_dim,
            tokens: shape.tokens,
            scores: vec![0.0; rows * heads * context.next_multiple_of(8)],
        }
    }

    /// Returns the tokens that `row` has seen.
    pub(super) fn position(&self, row: RowId) -> u64 {
        self.positions[row.index()]
    }

    /// Forgets what `row` has seen. Old keys and values stay where they are: positions say what is live.
    pub(super) fn reset_row(&mut self, row: RowId) {
        let Self {
            layers: _,
            positions,
            heads: _,
            context: _,
            head_dim: _,
            tokens: _,
            scores: _,
        } = self;
        positions[row.index()] = 0;
    }

    /// Moves `rows` on by a step's tokens, once all layers have been written.
    pub(super) fn advance(&mut self, rows: &[RowId]) {
        rows.iter()
            .for_each(|row| self.positions[row.index()] += self.tokens as u64);
    }

    /// Rotates queries and keys of `qkv` (`rows × tokens × 3·dim`) and stores keys and values of the new tokens.
    pub(super) fn append(&mut self, layer: usize, rows: &[RowId], rope: &Rope, qkv: &mut [f32]) {
        let (hd, dim, tokens) = (self.head_dim, self.heads * self.head_dim, self.tokens);
        let rings = &mut self.layers[layer];
        let new = qkv.chunks_exact_mut(3 * dim).take(rows.len() * tokens);
        for (i, token) in new.enumerate() {
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

    /// Computes attention of the new tokens over each row's live positions, into `out` (`rows × tokens × dim`).
    ///
    /// As in the reference, all tokens of a step are stored first: when the ring is full, the first of two tokens sees
    /// `context - 1` positions.
    pub(super) fn attend(
        &mut self,
        pool: &mut Pool,
        layer: usize,
        rows: &[RowId],
        qkv: &[f32],
        out: &mut [f32],
    ) {
        let Self {
            layers,
            positions,
            heads,
            context,
            head_dim: hd,
            tokens,
            scores,
        } = self;
        let (heads, context, hd, tokens) = (*heads, *context, *hd, *tokens);
        let (rings, dim, tasks) = (&layers[layer], heads * hd, rows.len() * heads);
        // A task is one head of a row: its part of `out` has one piece per token.
        let heads_of_a_row = StripLayout {
            base: 0,
            group_stride: tokens * dim,
            width: dim,
            len: hd,
            pieces: tokens,
            piece_stride: dim,
        };
        let scores = Strips::new(scores, StripLayout::chunks(context.next_multiple_of(8)), tasks);
        let out = Strips::new(out, heads_of_a_row, tasks);
        let live = |row: &RowId| (positions[row.index()] as usize + tokens).min(context);
        let live = rows.iter().map(live).sum::<usize>();
        let parallel = live * tokens * dim * 2 >= PARALLEL_FROM;
        pool.run_strips(tasks, parallel, [scores, out], &|i, [mut scores, mut out]| {
            let (n, head) = (i / heads, i % heads);
            let row = rows[n].index();
            let ring = (row * heads + head) * context * hd;
            for t in 0..tokens {
                let (live, hidden) = visible(positions[row], t, tokens, context);
                let q = &qkv[(n * tokens + t) * 3 * dim + head * hd..][..hd];
                let seen = ring..ring + live * hd;
                let (scores, out) = (scores.piece(0), out.piece(t));
                rings.attend(q, seen, hidden, scores, out);
            }
        });
    }
}

// Live places of a ring for token `t` of a step that began at `position`, and those of them that are newer than it.
fn visible(position: u64, t: usize, tokens: usize, context: usize) -> (usize, Hidden) {
    let now = position + t as u64;
    if position + tokens as u64 <= context as u64 {
        return (now as usize + 1, Hidden::default());
    }
    let newer = Hidden {
        start: ((now + 1) % context as u64) as usize,
        len: tokens - 1 - t,
    };
    (context, newer)
}

#[cfg(test)]
mod tests {
    use half::bf16;

    use super::*;
    use crate::model::layout::transformer::Feed;

    const HEADS: usize = 2;
    const CONTEXT: usize = 6;
    const WIDTH: usize = 40;
    const DIM: usize = HEADS * WIDTH;

    // What attention gives over `steps` steps of rows 2 and 0, unrotated; row 2 starts anew at step 4.
    fn run(format: Real, round: bool) -> Vec<f32> {
        let shape = Shape {
            dim: DIM,
            heads: HEADS,
            layers: 2,
            hidden: DIM,
            feed: Feed::Gelu,
            context: CONTEXT,
            max_period: 100.0,
            layer_scale: false,
            tokens: 1,
        };
        let mut cache = KvCache::new(3, &shape, format);
        let (mut pool, rope) = (Pool::new(1).unwrap(), Rope::new(shape.rope_frequencies(), 2));
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
                cache.append(layer, &rows, &rope, &mut qkv);
                let mut out = vec![0.0; rows.len() * DIM];
                cache.attend(&mut pool, layer, &rows, &qkv, &mut out);
                all.extend(out);
            }
            cache.advance(&rows);
        }
        all
    }

    #[test]
    fn bf16_rounds_what_it_holds_and_nothing_else() {
        assert_eq!(run(Real::Bf16, true), run(Real::F32, true));
        let (short, exact) = (run(Real::Bf16, false), run(Real::F32, false));
        assert_ne!(short, exact);
        let near = |(a, b): (&f32, &f32)| (a - b).abs() < 2e-2;
        assert!(short.iter().zip(&exact).all(near));
    }
}
