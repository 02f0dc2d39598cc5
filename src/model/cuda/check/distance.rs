//! How far two results are apart.

/// Returns the largest difference, as a share of the largest of `want`.
pub(super) fn far(got: &[f32], want: &[f32]) -> f32 {
    let scale = want.iter().fold(f32::MIN_POSITIVE, |m, x| m.max(x.abs()));
    let apart = |m: f32, (a, b): (&f32, &f32)| {
        if a.is_nan() {
            f32::INFINITY
        } else {
            m.max((a - b).abs())
        }
    };
    got.iter().zip(want).fold(0.0, apart) / scale
}
