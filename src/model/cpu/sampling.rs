//! Choosing a token from logits.

/// Returns the token with the largest logit, the first of equals: greedy decoding.
pub(crate) fn argmax(logits: &[f32]) -> u32 {
    let mut best = (0, f32::NEG_INFINITY);
    for (i, x) in logits.iter().enumerate() {
        if *x > best.1 {
            best = (i, *x);
        }
    }
    best.0 as u32
}

/// Draws a token from `softmax(logits / temperature)` by the Gumbel-max trick. The noise is a function of `seed`, `step`
/// and the token alone, so a stream draws the same whatever it is batched with.
pub(crate) fn gumbel(logits: &[f32], temperature: f64, seed: u64, step: u64) -> u32 {
    let stream = mix(seed ^ mix(step));
    let inverse = 1.0 / temperature;
    let mut best = (0, f64::NEG_INFINITY);
    for (i, x) in logits.iter().enumerate() {
        // 53 random bits, moved off zero: uniform in (0, 1).
        let uniform = ((mix(stream.wrapping_add(i as u64)) >> 11) as f64 + 0.5) / (1u64 << 53) as f64;
        let noisy = f64::from(*x) * inverse - (-uniform.ln()).ln();
        if noisy > best.1 {
            best = (i, noisy);
        }
    }
    best.0 as u32
}

// SplitMix64's step (Steele, Lea & Flood, 2014): neighbouring inputs give independent-looking outputs.
fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greedy_takes_the_first_of_equals() {
        assert_eq!(argmax(&[1.0, 3.0, 3.0, 2.0]), 1);
    }

    #[test]
    fn draws_follow_the_softmax() {
        let logits = [0.0, 1.0, 2.0, -30.0];
        let mut counts = [0u32; 4];
        (0..40_000).for_each(|step| counts[gumbel(&logits, 0.5, 7, step) as usize] += 1);
        let weights: Vec<f64> = logits.iter().map(|x| (f64::from(*x) / 0.5).exp()).collect();
        let total: f64 = weights.iter().sum();
        for (count, weight) in counts.iter().zip(&weights) {
            assert!(
                (f64::from(*count) / 40_000.0 - weight / total).abs() < 0.01,
                "{counts:?}"
            );
        }
    }

    #[test]
    fn a_draw_depends_on_seed_and_step_only() {
        let logits: Vec<f32> = (0..100).map(|i| (i % 7) as f32).collect();
        assert_eq!(gumbel(&logits, 1.0, 3, 9), gumbel(&logits, 1.0, 3, 9));
        let distinct: std::collections::BTreeSet<u32> = (0..50).map(|s| gumbel(&logits, 1.0, s, 0)).collect();
        assert!(distinct.len() > 5);
    }
}
