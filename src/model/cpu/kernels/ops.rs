//! Element-wise kernels: activations, norms, softmax, attention over one head.

use super::lanes::Lanes;

/// Computes `exp(x)` to about 2 ulp for x in [-87, 88], clamped outside (Cody-Waite reduction, degree-6 polynomial).
#[inline(always)]
unsafe fn exp<L: Lanes>(x: L::V) -> L::V {
    // SAFETY: register arithmetic only.
    unsafe {
        let x = L::max(L::min(x, L::splat(88.0)), L::splat(-87.0));
        let n = L::round(L::mul(x, L::splat(std::f32::consts::LOG2_E)));
        let r = L::mul_add(n, L::splat(-0.693_359_4), x);
        let r = L::mul_add(n, L::splat(2.121_944_4e-4), r);
        let mut p = L::splat(1.987_569_1e-4);
        for c in [
            1.398_199_9e-3,
            8.333_452e-3,
            4.166_579_6e-2,
            1.666_666_5e-1,
            0.5,
            1.0,
            1.0,
        ] {
            p = L::mul_add(p, r, L::splat(c));
        }
        L::mul(p, L::exp2_int(n))
    }
}

/// Computes `erf(x)` with an absolute error below 2e-7 (Abramowitz & Stegun 7.1.26 with its published coefficients).
#[inline(always)]
unsafe fn erf<L: Lanes>(x: L::V) -> L::V {
    // SAFETY: register arithmetic only.
    unsafe {
        let one = L::splat(1.0);
        let magnitude = L::max(x, L::sub(L::splat(0.0), x));
        let t = L::div(one, L::mul_add(magnitude, L::splat(0.327_591_1), one));
        let mut p = L::splat(1.061_405_4);
        for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6, 0.0] {
            p = L::mul_add(p, t, L::splat(c));
        }
        let tail = L::mul(p, exp::<L>(L::mul(x, L::sub(L::splat(0.0), x))));
        // The sign of x: x / |x|, with 0 giving 0 as erf does.
        let sign = L::div(x, L::max(magnitude, L::splat(f32::MIN_POSITIVE)));
        L::mul(L::sub(one, tail), sign)
    }
}

/// Ring slots `start, start + 1, …` (modulo the live length) that a query must not see.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Hidden {
    pub(crate) start: usize,
    pub(crate) len: usize,
}

/// A function of one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unary {
    /// `x` where positive, else `exp(x) - 1`.
    Elu,
    /// `x · Φ(x)` with the error function.
    Gelu,
}

/// Computes `y = f(x)`; equal lengths.
///
/// # Safety
/// `L` is available.
#[inline(always)]
pub(crate) unsafe fn unary<L: Lanes>(f: Unary, x: &[f32], y: &mut [f32]) {
    let (whole, tail) = x.split_at(x.len() / 8 * 8);
    for (x, y) in whole.chunks_exact(8).zip(y.chunks_exact_mut(8)) {
        // SAFETY: both chunks hold eight elements.
        unsafe { L::store(y.as_mut_ptr(), apply::<L>(f, L::load(x.as_ptr()))) };
    }
    let mut last = [0.0; 8];
    last[..tail.len()].copy_from_slice(tail);
    // SAFETY: the array holds eight elements.
    unsafe { L::store(last.as_mut_ptr(), apply::<L>(f, L::load(last.as_ptr()))) };
    y[whole.len()..].copy_from_slice(&last[..tail.len()]);
}

#[inline(always)]
unsafe fn apply<L: Lanes>(f: Unary, v: L::V) -> L::V {
    // SAFETY: register arithmetic only.
    unsafe {
        match f {
            Unary::Elu => {
                let zero = L::splat(0.0);
                let negative = L::sub(exp::<L>(L::min(v, zero)), L::splat(1.0));
                L::add(L::max(v, zero), negative)
            }
            Unary::Gelu => {
                let half = L::mul(v, L::splat(0.5));
                L::mul_add(
                    half,
                    erf::<L>(L::mul(v, L::splat(std::f32::consts::FRAC_1_SQRT_2))),
                    half,
                )
            }
        }
    }
}

/// Computes `out = x · alpha / √(mean(x²) + eps)`; equal lengths, a multiple of eight.
///
/// # Safety
/// `L` is available.
#[inline(always)]
pub(crate) unsafe fn rms_norm<L: Lanes>(x: &[f32], alpha: &[f32], eps: f32, out: &mut [f32]) {
    // SAFETY: `moment` and the loop read and write whole eights.
    unsafe {
        let scale = L::splat(1.0 / (moment::<L>(x, 0.0) + eps).sqrt());
        for ((x, a), o) in x
            .chunks_exact(8)
            .zip(alpha.chunks_exact(8))
            .zip(out.chunks_exact_mut(8))
        {
            L::store(
                o.as_mut_ptr(),
                L::mul(L::mul(L::load(x.as_ptr()), scale), L::load(a.as_ptr())),
            );
        }
    }
}

/// Computes `out = (x - mean) / √(variance + eps) · weight + bias`; equal lengths, a multiple of eight.
///
/// # Safety
/// `L` is available.
#[inline(always)]
pub(crate) unsafe fn layer_norm<L: Lanes>(
    x: &[f32],
    weight: &[f32],
    bias: &[f32],
    eps: f32,
    out: &mut [f32],
) {
    // SAFETY: all slices are walked in whole eights.
    unsafe {
        let mut total = L::splat(0.0);
        for x in x.chunks_exact(8) {
            total = L::add(total, L::load(x.as_ptr()));
        }
        let mean = L::sum(total) / x.len() as f32;
        let scale = L::splat(1.0 / (moment::<L>(x, mean) + eps).sqrt());
        let mean = L::splat(mean);
        for (((x, w), b), o) in x
            .chunks_exact(8)
            .zip(weight.chunks_exact(8))
            .zip(bias.chunks_exact(8))
            .zip(out.chunks_exact_mut(8))
        {
            let y = L::mul(L::sub(L::load(x.as_ptr()), mean), scale);
            L::store(
                o.as_mut_ptr(),
                L::mul_add(y, L::load(w.as_ptr()), L::load(b.as_ptr())),
            );
        }
    }
}

// Mean of (x - centre)².
#[inline(always)]
unsafe fn moment<L: Lanes>(x: &[f32], centre: f32) -> f32 {
    // SAFETY: whole eights.
    unsafe {
        let mut total = L::splat(0.0);
        for chunk in x.chunks_exact(8) {
            let d = L::sub(L::load(chunk.as_ptr()), L::splat(centre));
            total = L::mul_add(d, d, total);
        }
        L::sum(total) / x.len() as f32
    }
}

/// Computes `gate[i] = silu(gate[i]) · up[i]`; equal lengths, a multiple of eight.
///
/// # Safety
/// `L` is available.
#[inline(always)]
pub(crate) unsafe fn swiglu<L: Lanes>(gate: &mut [f32], up: &[f32]) {
    for (g, u) in gate.chunks_exact_mut(8).zip(up.chunks_exact(8)) {
        // SAFETY: both chunks hold eight elements.
        unsafe {
            let v = L::load(g.as_ptr());
            let one = L::splat(1.0);
            let sigmoid = L::div(one, L::add(one, exp::<L>(L::sub(L::splat(0.0), v))));
            L::store(g.as_mut_ptr(), L::mul(L::mul(v, sigmoid), L::load(u.as_ptr())));
        }
    }
}

/// An element of keys and values, as the rings hold it.
pub(crate) trait Held {
    /// # Safety
    /// `L` is available and eight elements can be read.
    unsafe fn load<L: Lanes>(p: *const Self) -> L::V;
}

impl Held for f32 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const Self) -> L::V {
        // SAFETY: the caller's promise.
        unsafe { L::load(p) }
    }
}

/// The bits of a bf16.
impl Held for u16 {
    #[inline(always)]
    unsafe fn load<L: Lanes>(p: *const Self) -> L::V {
        // SAFETY: the caller's promise.
        unsafe { L::load_bf16(p) }
    }
}

/// Computes [`attention`] over f32.
///
/// # Safety
/// `L` is available.
#[inline(always)]
pub(crate) unsafe fn attend<L: Lanes>(
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    hidden: Hidden,
    scores: &mut [f32],
    out: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe { attention::<L, f32>(q, keys, values, hidden, scores, out) }
}

/// Computes [`attention`] over the bits of bf16.
///
/// # Safety
/// `L` is available.
#[inline(always)]
pub(crate) unsafe fn attend_bf16<L: Lanes>(
    q: &[f32],
    keys: &[u16],
    values: &[u16],
    hidden: Hidden,
    scores: &mut [f32],
    out: &mut [f32],
) {
    // SAFETY: the caller's promise.
    unsafe { attention::<L, u16>(q, keys, values, hidden, scores, out) }
}

/// Computes one query over the live positions of one head: `out = softmax(q · Kᵀ / √d) · V`.
///
/// `keys` and `values` hold `live × d` each, `scores` has room for `live` rounded up to eight; `d` is a multiple of 8.
/// Positions in `hidden` (a range that may wrap round the end of the ring) are newer than the query and get no weight.
///
/// # Safety
/// `L` is available.
#[inline(always)]
unsafe fn attention<L: Lanes, T: Held>(
    q: &[f32],
    keys: &[T],
    values: &[T],
    hidden: Hidden,
    scores: &mut [f32],
    out: &mut [f32],
) {
    let d = q.len();
    let live = keys.len() / d;
    let scale = 1.0 / (d as f32).sqrt();
    let mut top = f32::NEG_INFINITY;
    for (j, score) in scores[..live].iter_mut().enumerate() {
        // SAFETY: key `j` has `d` elements, `d` a multiple of eight.
        unsafe {
            let key = keys.as_ptr().add(j * d);
            let (mut even, mut odd) = (L::splat(0.0), L::splat(0.0));
            let mut k = 0;
            while k + 16 <= d {
                even = L::mul_add(L::load(q.as_ptr().add(k)), T::load::<L>(key.add(k)), even);
                odd = L::mul_add(L::load(q.as_ptr().add(k + 8)), T::load::<L>(key.add(k + 8)), odd);
                k += 16;
            }
            if k < d {
                even = L::mul_add(L::load(q.as_ptr().add(k)), T::load::<L>(key.add(k)), even);
            }
            *score = L::sum(L::add(even, odd)) * scale;
        }
    }
    (0..hidden.len).for_each(|i| scores[(hidden.start + i) % live] = f32::NEG_INFINITY);
    scores[..live].iter().for_each(|s| top = top.max(*s));
    let padded = live.next_multiple_of(8);
    scores[live..padded].fill(f32::NEG_INFINITY);
    let mut total = 0.0;
    for chunk in scores[..padded].chunks_exact_mut(8) {
        // SAFETY: the chunk holds eight elements.
        unsafe {
            let e = exp::<L>(L::sub(L::load(chunk.as_ptr()), L::splat(top)));
            L::store(chunk.as_mut_ptr(), e);
        }
    }
    (0..hidden.len).for_each(|i| scores[(hidden.start + i) % live] = 0.0);
    scores[..live].iter().for_each(|s| total += s);
    let weight = 1.0 / total;
    let mut column = 0;
    while column + 32 <= d {
        // SAFETY: values have `d` columns and 32 are left.
        unsafe { weigh::<L, T, 4>(&scores[..live], values, d, column, weight, out) };
        column += 32;
    }
    while column < d {
        // SAFETY: `d` is a multiple of eight.
        unsafe { weigh::<L, T, 1>(&scores[..live], values, d, column, weight, out) };
        column += 8;
    }
}

// Columns `column .. column + 8N` of the weighted sum of value rows: N independent sums hide the latency of one.
#[inline(always)]
unsafe fn weigh<L: Lanes, T: Held, const N: usize>(
    p: &[f32],
    values: &[T],
    d: usize,
    column: usize,
    weight: f32,
    out: &mut [f32],
) {
    // SAFETY: the caller's promise on columns; there is a value row for every score.
    unsafe {
        let mut sums = [L::splat(0.0); N];
        let base = values.as_ptr().add(column);
        for (j, p) in p.iter().enumerate() {
            let p = L::splat(*p);
            for (n, sum) in sums.iter_mut().enumerate() {
                *sum = L::mul_add(p, T::load::<L>(base.add(j * d + n * 8)), *sum);
            }
        }
        for (n, sum) in sums.into_iter().enumerate() {
            L::store(
                out.as_mut_ptr().add(column + n * 8),
                L::mul(sum, L::splat(weight)),
            );
        }
    }
}
