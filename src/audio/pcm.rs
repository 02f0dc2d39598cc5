//! Little-endian PCM bytes to samples, and several channels to one.

/// Appends 16-bit little-endian samples, scaled to [-1, 1). `half` keeps the first byte of a sample between calls.
pub fn append_i16(bytes: &[u8], half: &mut Option<u8>, out: &mut Vec<f32>) {
    let mut bytes = bytes;
    if let (Some(low), [high, rest @ ..]) = (*half, bytes) {
        out.push(from_i16([low, *high]));
        *half = None;
        bytes = rest;
    }
    let pairs = bytes.chunks_exact(2);
    if let [low] = pairs.remainder() {
        *half = Some(*low);
    }
    out.extend(pairs.map(|pair| from_i16([pair[0], pair[1]])));
}

fn from_i16(bytes: [u8; 2]) -> f32 {
    f32::from(i16::from_le_bytes(bytes)) / 32_768.0
}

/// Samples as 16-bit little-endian bytes, clipped.
pub fn to_i16_bytes(samples: &[f32]) -> impl Iterator<Item = u8> + '_ {
    // The float-to-integer conversion saturates.
    samples
        .iter()
        .flat_map(|sample| ((sample * 32_768.0).round() as i16).to_le_bytes())
}

/// Appends 32-bit little-endian floats. False, and nothing appended, when `bytes` is not a whole number of them.
#[must_use]
pub fn append_f32(bytes: &[u8], out: &mut Vec<f32>) -> bool {
    let (samples, rest) = bytes.as_chunks::<4>();
    if rest.is_empty() {
        out.extend(samples.iter().map(|sample| f32::from_le_bytes(*sample)));
    }
    rest.is_empty()
}

/// Returns a sample that a model may take: silence for what is not a number, otherwise clipped to [-1, 1].
///
/// This is the one rule for bad samples. A NaN would stay in a row's keys and values for the rest of its stream. A value
/// beyond full scale, infinity included, is what an overdriven source sends, and clipping is what it sounds like.
///
/// ```
/// use moshi_server::audio::pcm::tamed;
/// assert_eq!([f32::NAN, f32::INFINITY, -7.0, 0.5].map(tamed), [0.0, 1.0, -1.0, 0.5]);
/// ```
#[must_use]
pub fn tamed(sample: f32) -> f32 {
    if sample.is_nan() {
        return 0.0;
    }
    sample.clamp(-1.0, 1.0)
}

/// Applies [`tamed`] to all of `samples`.
pub fn tame(samples: &mut [f32]) {
    samples.iter_mut().for_each(|sample| *sample = tamed(*sample));
}

/// Averages `channels` interleaved channels into one, in place.
pub fn downmix(samples: &mut Vec<f32>, channels: usize) {
    if channels < 2 {
        return;
    }
    let frames = samples.len() / channels;
    let scale = 1.0 / channels as f32;
    for frame in 0..frames {
        let at = frame * channels;
        samples[frame] = samples[at..at + channels].iter().sum::<f32>() * scale;
    }
    samples.truncate(frames);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sixteen_bit_samples_survive_the_round_trip() {
        let samples = [0.0, 0.5, -0.5, -1.0, 0.25];
        let bytes: Vec<u8> = to_i16_bytes(&samples).collect();
        let (mut half, mut back) = (None, Vec::new());
        append_i16(&bytes, &mut half, &mut back);
        assert_eq!(back, samples);
        let clipped: Vec<u8> = to_i16_bytes(&[2.0, -2.0]).collect();
        assert_eq!(clipped, [0xff, 0x7f, 0x00, 0x80]);
    }

    #[test]
    fn a_torn_float_is_refused_whole() {
        let mut out = Vec::new();
        assert!(append_f32(&0.5f32.to_le_bytes(), &mut out));
        assert!(!append_f32(&[0; 7], &mut out));
        assert_eq!(out, [0.5]);
    }

    #[test]
    fn wild_samples_are_tamed() {
        let mut samples = [f32::NAN, f32::INFINITY, -7.0, 0.5];
        tame(&mut samples);
        assert_eq!(samples, [0.0, 1.0, -1.0, 0.5]);
    }

    #[test]
    fn channels_are_averaged() {
        let mut samples = vec![1.0, 0.0, -1.0, 0.5, 0.5, 0.5];
        downmix(&mut samples, 3);
        assert_eq!(samples, [0.0, 0.5]);
    }

    proptest::proptest! {
        #[test]
        fn any_cut_of_the_bytes_gives_the_same_samples(bytes: Vec<u8>, cuts: Vec<usize>) {
            let (mut half, mut whole) = (None, Vec::new());
            append_i16(&bytes, &mut half, &mut whole);
            let (mut half, mut parts, mut rest) = (None, Vec::new(), bytes.as_slice());
            for cut in cuts {
                let (head, tail) = rest.split_at(cut % (rest.len() + 1));
                append_i16(head, &mut half, &mut parts);
                rest = tail;
            }
            append_i16(rest, &mut half, &mut parts);
            proptest::prop_assert_eq!(whole, parts);
        }
    }
}
