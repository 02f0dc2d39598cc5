//! What a session is about to send to its row: long messages cut into pieces, each with its charge.

use crate::audio::decode::Meter;
use crate::audio::ogg;
use crate::pipeline::credits::MIN_CHARGE;
use crate::pipeline::links::LinkError;
use crate::pipeline::rows::RowLease;
use crate::stream::end::{End, EndReason};
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE, seconds};
use crate::stream::input::{AudioBytes, Control, Encoding};

enum Piece {
    Audio(AudioBytes),
    Control(Control),
}

/// One message of the client on its way.
pub(super) struct Outgoing {
    meter: Meter,
    /// Most credits one piece may take.
    largest: u32,
    rest: Option<AudioBytes>,
    next: Option<(Piece, u32)>,
}

impl Outgoing {
    pub(super) fn new(largest: u32) -> Self {
        Self {
            meter: Meter::default(),
            largest,
            rest: None,
            next: None,
        }
    }

    /// Takes the next message. Only when nothing waits.
    pub(super) fn control(&mut self, control: Control) {
        self.next = Some((Piece::Control(control), MIN_CHARGE));
    }

    /// Takes the next message. Only when nothing waits.
    ///
    /// # Errors
    /// As [`Self::cut`].
    pub(super) fn audio(&mut self, audio: AudioBytes) -> Result<(), End> {
        self.rest = Some(audio);
        self.cut()
    }

    /// Returns the charge of what waits, if anything does.
    pub(super) fn waiting(&self) -> Option<u32> {
        self.next.as_ref().map(|(_, charge)| *charge)
    }

    /// Sends what waits; its charge was taken.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub(super) fn send(&mut self, lease: &RowLease) -> Result<(), LinkError> {
        match self.next.take() {
            Some((Piece::Audio(audio), charge)) => lease.audio(audio, charge),
            Some((Piece::Control(control), _)) => lease.control(control),
            None => Ok(()),
        }
    }

    /// Makes the next piece of the message ready.
    ///
    /// # Errors
    /// The audio is not what it is said to be, or a part of it that cannot be cut is longer than credits can pay.
    pub(super) fn cut(&mut self) -> Result<(), End> {
        let Some(audio) = self.rest.as_mut().filter(|audio| !audio.data.is_empty()) else {
            self.rest = None;
            return Ok(());
        };
        let encoding = audio.encoding;
        let size = piece_bytes(encoding, &audio.data).min(audio.data.len());
        let data = audio.data.split_to(size);
        let cost = self
            .meter
            .cost(encoding, &data)
            .map_err(|error| End::because(EndReason::BadAudio, error.to_string()))?;
        let samples = (cost.as_nanos() * u128::from(SAMPLE_RATE) + 500_000_000) / 1_000_000_000;
        let charge = u32::try_from(samples).map_or(u32::MAX, RowLease::charge);
        if charge > self.largest {
            let message = format!(
                "one Ogg page holds {:.2} s of audio and at most {:.2} s are taken: send shorter pages",
                cost.as_secs_f64(),
                seconds(u64::from(self.largest))
            );
            return Err(End::because(EndReason::TooBig, message));
        }
        self.next = Some((Piece::Audio(AudioBytes { encoding, data }), charge));
        Ok(())
    }
}

/// Bytes of a frame's worth of audio, so that credits are never waited for longer than a frame takes.
fn piece_bytes(encoding: Encoding, data: &[u8]) -> usize {
    match encoding {
        Encoding::F32 => 4 * FRAME_SAMPLES,
        Encoding::Pcm16(rate) => 2 * rate.hz() as usize * FRAME_SAMPLES / SAMPLE_RATE as usize,
        Encoding::OggOpus => ogg::piece(data),
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::stream::input::PcmRate;

    fn audio(encoding: Encoding, bytes: usize) -> AudioBytes {
        let data = Bytes::from(vec![0; bytes]);
        AudioBytes { encoding, data }
    }

    #[test]
    fn long_messages_go_out_a_frame_at_a_time_and_short_ones_cost_twenty_milliseconds() {
        let mut outgoing = Outgoing::new(28_800);
        outgoing.audio(audio(Encoding::F32, 4 * 4000)).unwrap();
        let mut charges = Vec::new();
        while let Some(charge) = outgoing.waiting() {
            charges.push(charge);
            outgoing.next = None;
            outgoing.cut().unwrap();
        }
        assert_eq!(charges, [1920, 1920, MIN_CHARGE]);
        outgoing.audio(audio(Encoding::F32, 0)).unwrap();
        assert_eq!(outgoing.waiting(), None);
    }

    #[test]
    fn raw_pcm_is_charged_by_its_rate() {
        let mut outgoing = Outgoing::new(28_800);
        let telephone = Encoding::Pcm16(PcmRate::new(8_000).unwrap());
        outgoing.audio(audio(telephone, 640)).unwrap();
        assert_eq!(outgoing.waiting(), Some(960));
    }

    #[test]
    fn torn_floats_are_bad_audio() {
        let mut outgoing = Outgoing::new(28_800);
        let end = outgoing.audio(audio(Encoding::F32, 5)).unwrap_err();
        assert_eq!(end.reason, EndReason::BadAudio);
    }
}
