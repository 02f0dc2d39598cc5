//! What the streams say: audio files, or a sound made up here for tests of capacity.

use std::f32::consts::TAU;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;

use crate::audio::file::FileDecoder;
use crate::audio::opus::{Application, OpusEncoder};
use crate::stream::frame::SAMPLE_RATE;

/// Samples of an Opus packet: 20 ms, as clients send.
pub(super) const PACKET: usize = SAMPLE_RATE as usize / 50;

/// A clip as Opus packets.
#[derive(Debug)]
pub struct Opus {
    pub packets: Vec<Vec<u8>>,
    /// A packet of silence.
    pub silence: Vec<u8>,
}

/// Something to say, mono at 24 kHz, and its words if they are known.
#[derive(Clone, Debug)]
pub struct Clip {
    pub samples: Arc<[f32]>,
    pub said: Option<Arc<str>>,
    /// The same as Opus, once [`Clip::encode`] has been called.
    pub opus: Option<Arc<Opus>>,
    /// Made by [`Clip::made_up`]: it can go on for ever.
    pub is_made_up: bool,
}

impl Clip {
    /// Reads a file of any common kind. A text file beside it, `NAME.txt`, holds its words.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let file = std::fs::File::open(path).with_context(|| path.display().to_string())?;
        let mut decoder = FileDecoder::open(file).with_context(|| path.display().to_string())?;
        let mut samples = Vec::new();
        while decoder.next(&mut |piece| samples.extend_from_slice(piece))? {}
        anyhow::ensure!(!samples.is_empty(), "{}: the file holds no audio", path.display());
        let said = std::fs::read_to_string(path.with_extension("txt"))
            .ok()
            .map(|text| text.trim().into());
        Ok(Self {
            samples: samples.into(),
            said,
            opus: None,
            is_made_up: false,
        })
    }

    /// `seconds` of a voice-like sound: a buzz whose pitch and loudness move as in speech, with pauses. It costs a server what
    /// speech costs it, and means nothing.
    #[must_use]
    pub fn made_up(seconds: u32) -> Self {
        let rate = SAMPLE_RATE as f32;
        let mut phase = 0.0f32;
        let samples = (0..seconds * SAMPLE_RATE).map(|i| {
            let t = i as f32 / rate;
            phase = (phase + (120.0 + 30.0 * (TAU * 0.4 * t).sin()) / rate).fract();
            let buzz: f32 = (1..=12u8)
                .map(|k| (TAU * phase * f32::from(k)).sin() / f32::from(k))
                .sum();
            let syllables = (TAU * 2.0 * t).sin().max(0.0);
            let phrase = if t % 4.0 < 3.0 { 1.0 } else { 0.0 };
            0.2 * buzz * syllables * phrase
        });
        Self {
            samples: samples.collect(),
            said: None,
            opus: None,
            is_made_up: true,
        }
    }

    /// Encodes the clip for sessions that send Opus; the last packet is filled up with silence.
    ///
    /// # Errors
    /// There is no memory for an encoder.
    pub fn encode(&mut self) -> anyhow::Result<()> {
        let packets = |samples: &[f32]| {
            let mut encoder =
                OpusEncoder::new(1, Application::Voice).context("no memory for an Opus encoder")?;
            let mut frame = [0.0; PACKET];
            samples
                .chunks(PACKET)
                .map(|chunk| {
                    frame.fill(0.0);
                    frame[..chunk.len()].copy_from_slice(chunk);
                    encoder.encode(&frame).context("the Opus encoder failed")
                })
                .collect::<anyhow::Result<Vec<_>>>()
        };
        // The first packets of silence still find their level.
        let silence = packets(&[0.0; 10 * PACKET])?.pop().context("no packet")?;
        self.opus = Some(Arc::new(Opus {
            packets: packets(&self.samples)?,
            silence,
        }));
        Ok(())
    }

    /// Length in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(SAMPLE_RATE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_made_up_sound_is_loud_enough_to_be_heard_and_never_clips() {
        let clip = Clip::made_up(4);
        assert!((clip.seconds() - 4.0).abs() < 1e-9);
        let peak = clip.samples.iter().fold(0.0f32, |peak, x| peak.max(x.abs()));
        assert!((0.1..=1.0).contains(&peak), "{peak}");
        assert!(
            clip.samples[3 * SAMPLE_RATE as usize..].iter().all(|x| *x == 0.0),
            "a pause after the phrase"
        );
    }

    #[test]
    fn a_file_without_audio_says_which() {
        let error = Clip::read(Path::new("no/such.wav")).unwrap_err();
        assert!(format!("{error:#}").contains("no/such.wav"));
    }
}
