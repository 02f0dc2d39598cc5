//! Streaming conversion of one channel to 24 kHz, or from it, in blocks of about 20 ms.

use rubato::audioadapter_buffers::direct::InterleavedSlice;
use rubato::{Fft, FixedSync, Resampler as _};

use crate::stream::frame::SAMPLE_RATE;

/// Rates that can be converted, in Hz: from telephones' lowest to studio's highest.
pub const RATES: std::ops::RangeInclusive<u32> = 4_000..=192_000;

/// Converts a stream. Output is aligned with input: the filter's delay is cut off at the start and made up for by
/// [`Resampler::finish`], so `n` samples in are `n · to / from` samples out, rounded up.
pub struct Resampler {
    /// None where the rate is the models' own.
    engine: Option<Engine>,
}

struct Engine {
    fft: Fft<f32>,
    from: u32,
    to: u32,
    /// Input short of a block.
    pending: Vec<f32>,
    block_in: usize,
    block_out: Vec<f32>,
    /// Output samples still to cut off.
    skip: usize,
    /// Samples of this stream so far.
    taken: u64,
    given: u64,
}

impl Resampler {
    /// A converter from `rate` Hz to the models' own rate; none when `rate` is outside [`RATES`].
    #[must_use]
    pub fn new(rate: u32) -> Option<Self> {
        Self::between(rate, SAMPLE_RATE)
    }

    /// A converter between two rates in Hz; none when one is outside [`RATES`].
    #[must_use]
    pub fn between(from: u32, to: u32) -> Option<Self> {
        if from == to {
            return Some(Self::identity());
        }
        if !RATES.contains(&from) || !RATES.contains(&to) {
            return None;
        }
        let rates = (from, to);
        let (from, to) = (from as usize, to as usize);
        // Fixed blocks of at least 20 ms: shorter ones would dull the treble. They are an even number of the smallest
        // ones that fit both rates, or the filter's delay would be half a sample off.
        let smallest = from / gcd(from, to);
        let block = (from / 50).div_ceil(2 * smallest).max(1) * 2 * smallest;
        let window = rubato::WindowFunction::BlackmanHarris2;
        let fft = Fft::new_custom(from, to, block, 1, 1, window, FixedSync::Both);
        let fft = fft.ok()?;
        let block_in = fft.input_frames_next();
        let block_out = vec![0.0; fft.output_frames_max()];
        let skip = fft.output_delay();
        let pending = Vec::with_capacity(2 * block_in);
        Some(Self {
            engine: Some(Engine {
                fft,
                from: rates.0,
                to: rates.1,
                pending,
                block_in,
                block_out,
                skip,
                taken: 0,
                given: 0,
            }),
        })
    }

    /// A converter of what has the models' own rate.
    #[must_use]
    pub fn identity() -> Self {
        Self { engine: None }
    }

    /// Converts `samples`; `emit` gets what is ready, in order.
    pub fn push(&mut self, samples: &[f32], emit: &mut impl FnMut(&[f32])) {
        match &mut self.engine {
            None => emit(samples),
            Some(engine) => engine.push(samples, u64::MAX, emit),
        }
    }

    /// Gives the tail that was held back and starts over, for a new stream.
    pub fn finish(&mut self, emit: &mut impl FnMut(&[f32])) {
        let Some(engine) = &mut self.engine else { return };
        let due = (engine.taken * u64::from(engine.to)).div_ceil(u64::from(engine.from));
        let silence = vec![0.0; engine.block_in];
        while engine.given < due {
            engine.push(&silence, due, emit);
        }
        engine.fft.reset();
        engine.pending.clear();
        engine.skip = engine.fft.output_delay();
        engine.taken = 0;
        engine.given = 0;
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl Engine {
    /// `limit` is the number of samples the stream may give in all.
    fn push(&mut self, samples: &[f32], limit: u64, emit: &mut impl FnMut(&[f32])) {
        self.taken += samples.len() as u64;
        let mut rest = samples;
        while self.pending.len() + rest.len() >= self.block_in {
            let (head, tail) = rest.split_at(self.block_in - self.pending.len());
            self.pending.extend_from_slice(head);
            rest = tail;
            let made = self.convert();
            let from = self.skip.min(made);
            self.skip -= from;
            let room = usize::try_from(limit - self.given).unwrap_or(usize::MAX);
            let ready = &self.block_out[from..made.min(from.saturating_add(room))];
            self.given += ready.len() as u64;
            if !ready.is_empty() {
                emit(ready);
            }
        }
        self.pending.extend_from_slice(rest);
    }

    /// Converts the pending block. Returns the number of samples in `block_out`.
    fn convert(&mut self) -> usize {
        let room = self.block_out.len();
        let made = InterleavedSlice::new(&self.pending, 1, self.block_in)
            .ok()
            .and_then(|input| {
                let mut output = InterleavedSlice::new_mut(&mut self.block_out, 1, room).ok()?;
                self.fft.process_into_buffer(&input, &mut output, None).ok()
            });
        self.pending.clear();
        // invariant: both buffers have the sizes the converter asked for, so it cannot refuse them.
        debug_assert!(made.is_some());
        made.map_or(0, |(_, written)| written)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sine(rate: u32, hz: f64, samples: usize) -> Vec<f32> {
        let turn = hz * std::f64::consts::TAU / f64::from(rate);
        (0..samples)
            .map(|i| (i as f64 * turn).sin() as f32 * 0.5)
            .collect()
    }

    fn all(rate: u32, parts: &[&[f32]]) -> Vec<f32> {
        let mut resampler = Resampler::new(rate).unwrap();
        let mut out = Vec::new();
        for part in parts {
            resampler.push(part, &mut |s| out.extend_from_slice(s));
        }
        resampler.finish(&mut |s| out.extend_from_slice(s));
        out
    }

    #[test]
    fn a_tone_keeps_its_pitch_level_and_place() {
        for rate in [8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 96_000] {
            let input = sine(rate, 440.0, rate as usize / 2 + 7);
            let output = all(rate, &[&input]);
            let expected_len = (input.len() as u64 * 24_000).div_ceil(u64::from(rate)) as usize;
            assert_eq!(output.len(), expected_len, "{rate}");
            let expected = sine(24_000, 440.0, output.len());
            let inner = 1_000..output.len() - 1_000;
            let worst = inner.map(|i| (output[i] - expected[i]).abs()).fold(0.0, f32::max);
            assert!(worst < 2e-3, "{rate} Hz: off by {worst}");
        }
    }

    #[test]
    fn what_24_khz_cannot_hold_is_filtered_out() {
        let output = all(48_000, &[&sine(48_000, 15_000.0, 48_000)]);
        let power = output[2_000..20_000].iter().map(|s| s * s).sum::<f32>() / 18_000.0;
        assert!(power < 1e-8, "{power}");
    }

    #[test]
    fn speech_band_survives_telephone_rate() {
        let output = all(8_000, &[&sine(8_000, 3_400.0, 8_000)]);
        let power = output[2_000..20_000].iter().map(|s| s * s).sum::<f32>() / 18_000.0;
        assert!((power - 0.125).abs() < 0.01, "{power}");
    }

    #[test]
    fn odd_rates_are_refused_or_work() {
        assert!(Resampler::new(0).is_none());
        assert!(Resampler::new(3_999).is_none());
        assert!(Resampler::new(u32::MAX).is_none());
        assert_eq!(all(44_056, &[&[0.0; 44_056]]).len(), 24_000);
    }

    #[test]
    fn a_finished_converter_starts_over() {
        let input = sine(16_000, 300.0, 5_000);
        let mut resampler = Resampler::new(16_000).unwrap();
        let mut runs = [Vec::new(), Vec::new()];
        for run in &mut runs {
            resampler.push(&input, &mut |s| run.extend_from_slice(s));
            resampler.finish(&mut |s| run.extend_from_slice(s));
        }
        assert_eq!(runs[0], runs[1]);
    }

    proptest::proptest! {
        #![proptest_config(proptest::prelude::ProptestConfig::with_cases(32))]
        #[test]
        fn any_cut_gives_the_same_samples(cuts in proptest::collection::vec(0usize..2_000, 1..30), rate in 0usize..4) {
            let rate = [8_000, 16_000, 44_100, 48_000][rate];
            let input = sine(rate, 200.0, 12_345);
            let mut parts = Vec::new();
            let mut rest = input.as_slice();
            for cut in cuts {
                let (head, tail) = rest.split_at(cut.min(rest.len()));
                parts.push(head);
                rest = tail;
            }
            parts.push(rest);
            proptest::prop_assert_eq!(all(rate, &[&input]), all(rate, &parts));
        }
    }
}
