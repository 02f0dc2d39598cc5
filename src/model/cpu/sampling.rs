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

/// A draw of a token: from which logits, and by which noise.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Draw {
    /// 0 takes the likeliest.
    pub(crate) temperature: f64,
    /// Likeliest tokens that are drawn from; 0 draws from all.
    pub(crate) top_k: usize,
    pub(crate) seed: u64,
    /// Number of the draw among those of its stream.
    pub(crate) number: u64,
}

impl Draw {
    /// Draws a token. `scratch` is storage for as many logits.
    pub(crate) fn token(self, logits: &[f32], scratch: &mut Vec<f32>) -> u32 {
        let (temperature, seed, number) = (self.temperature, self.seed, self.number);
        if temperature <= 0.0 {
            return argmax(logits);
        }
        if !(1..logits.len()).contains(&self.top_k) {
            return gumbel(logits, temperature, seed, number);
        }
        scratch.clear();
        scratch.extend_from_slice(logits);
        let (likelier, least, _) = scratch.select_nth_unstable_by(self.top_k - 1, |a, b| b.total_cmp(a));
        let least = *least;
        // Of those that are as likely as the least, the first ones are taken.
        let mut equals = self.top_k - likelier.iter().filter(|x| **x > least).count();
        gumbel_among(logits, temperature, seed, number, |x| {
            let equal = x == least && equals > 0;
            equals -= usize::from(equal);
            equal || x > least
        })
    }
}

/// Draws a token from `softmax(logits / temperature)` by the Gumbel-max trick. The noise is a function of `seed`, `step`
/// and the token alone, so a stream draws the same whatever it is batched with.
pub(crate) fn gumbel(logits: &[f32], temperature: f64, seed: u64, step: u64) -> u32 {
    gumbel_among(logits, temperature, seed, step, |_| true)
}

fn gumbel_among(
    logits: &[f32],
    temperature: f64,
    seed: u64,
    step: u64,
    mut among: impl FnMut(f32) -> bool,
) -> u32 {
    let stream = mix(seed ^ mix(step));
    let inverse = 1.0 / temperature;
    let mut best = (0, f64::NEG_INFINITY);
    for (i, x) in logits.iter().enumerate() {
        if !among(*x) {
            continue;
        }
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

    #[test]
    fn only_the_likeliest_are_drawn_and_the_first_of_equals() {
        let logits = [1.0, 3.0, 2.0, 2.0, 2.0, -1.0];
        let mut scratch = Vec::new();
        let mut drawn = |top_k| {
            let draw = |number| Draw {
                temperature: 2.0,
                top_k,
                seed: 3,
                number,
            };
            let tokens = (0..500).map(|number| draw(number).token(&logits, &mut scratch));
            tokens
                .collect::<std::collections::BTreeSet<u32>>()
                .into_iter()
                .collect::<Vec<u32>>()
        };
        assert_eq!(drawn(1), [1]);
        assert_eq!(drawn(3), [1, 2, 3]);
        assert_eq!(drawn(0), [0, 1, 2, 3, 4, 5]);
        assert_eq!(drawn(100), [0, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn a_draw_from_all_is_that_of_the_whole_softmax() {
        let logits: Vec<f32> = (0..50).map(|i| (i % 11) as f32).collect();
        for number in 0..50 {
            let draw = Draw {
                temperature: 1.3,
                top_k: 50,
                seed: 5,
                number,
            };
            assert_eq!(
                draw.token(&logits, &mut Vec::new()),
                gumbel(&logits, 1.3, 5, number)
            );
        }
    }
}
