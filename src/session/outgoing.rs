//! What a session is about to send to its row: long messages cut into pieces, each with its charge.

use crate::audio::ogg;
use crate::pipeline::credits::MIN_CHARGE;
use crate::pipeline::decode::{Chunk, Meter, Pcm16Rate};
use crate::pipeline::links::{Control, LinkError};
use crate::pipeline::rows::RowLease;
use crate::protocol::Form;
use crate::protocol::client::{BadMessage, Sound};
use crate::stream::end::EndReason;
use crate::stream::frame::SAMPLE_RATE;

enum Piece {
    Sound(Sound),
    Control(Control),
}

/// One message of the client on its way.
pub(super) struct Outgoing {
    meter: Meter,
    rate: u32,
    largest: u32,
    rest: Option<Sound>,
    next: Option<(Piece, u32)>,
}

impl Outgoing {
    pub(super) fn new(form: Form, largest: u32) -> Self {
        let rate = form.pcm16.unwrap_or(SAMPLE_RATE);
        Self {
            meter: Meter::new(Pcm16Rate::new(rate).unwrap_or_default()),
            rate,
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
    pub(super) fn sound(&mut self, sound: Sound) -> Result<(), BadMessage> {
        self.rest = Some(sound);
        self.cut()
    }

    /// The charge of what waits, if anything does.
    pub(super) fn waiting(&self) -> Option<u32> {
        self.next.as_ref().map(|(_, charge)| *charge)
    }

    /// Sends what waits; its charge was taken.
    pub(super) fn send(&mut self, lease: &RowLease) -> Result<(), LinkError> {
        match self.next.take() {
            Some((Piece::Sound(sound), charge)) => lease.sound(sound, charge),
            Some((Piece::Control(control), _)) => lease.control(control),
            None => Ok(()),
        }
    }

    /// Makes the next piece of the message ready.
    pub(super) fn cut(&mut self) -> Result<(), BadMessage> {
        let Some(sound) = self.rest.as_mut().filter(|sound| !sound.is_empty()) else {
            self.rest = None;
            return Ok(());
        };
        // A frame at a time, so that credits are never waited for longer than a frame takes.
        let most = match sound {
            Sound::F32(_) => 4 * SAMPLE_RATE as usize * 80 / 1000,
            Sound::Pcm16(_) => 2 * self.rate as usize * 80 / 1000,
            Sound::Ogg(bytes) => ogg::piece(bytes),
        };
        let piece = sound.split_front(most);
        let chunk = match &piece {
            Sound::F32(bytes) => Chunk::F32Bytes(bytes),
            Sound::Pcm16(bytes) => Chunk::Pcm16(bytes),
            Sound::Ogg(bytes) => Chunk::Ogg(bytes),
        };
        let cost = self.meter.cost(chunk).map_err(|e| BadMessage {
            reason: EndReason::BadAudio,
            message: e.to_string(),
        })?;
        let samples = (cost.as_nanos() * u128::from(SAMPLE_RATE) + 500_000_000) / 1_000_000_000;
        let charge = u32::try_from(samples).map_or(u32::MAX, RowLease::charge);
        if charge > self.largest {
            return Err(BadMessage {
                reason: EndReason::TooBig,
                message: format!(
                    "one Ogg page holds {:.2} s of audio and at most {:.2} s are taken: send shorter pages",
                    cost.as_secs_f64(),
                    f64::from(self.largest) / f64::from(SAMPLE_RATE)
                ),
            });
        }
        self.next = Some((Piece::Sound(piece), charge));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn long_messages_go_out_a_frame_at_a_time_and_short_ones_cost_twenty_milliseconds() {
        let mut outgoing = Outgoing::new(Form::default(), 28_800);
        outgoing
            .sound(Sound::F32(Bytes::from(vec![0; 4 * 4000])))
            .unwrap();
        let mut charges = Vec::new();
        while let Some(charge) = outgoing.waiting() {
            charges.push(charge);
            outgoing.next = None;
            outgoing.cut().unwrap();
        }
        assert_eq!(charges, [1920, 1920, MIN_CHARGE]);
        outgoing.sound(Sound::F32(Bytes::new())).unwrap();
        assert_eq!(outgoing.waiting(), None);
    }

    #[test]
    fn raw_pcm_is_charged_by_its_rate() {
        let form = Form {
            pcm16: Some(8_000),
            ..Form::default()
        };
        let mut outgoing = Outgoing::new(form, 28_800);
        outgoing.sound(Sound::Pcm16(Bytes::from(vec![0; 640]))).unwrap();
        assert_eq!(outgoing.waiting(), Some(960));
    }

    #[test]
    fn torn_floats_are_bad_audio() {
        let mut outgoing = Outgoing::new(Form::default(), 28_800);
        let error = outgoing
            .sound(Sound::F32(Bytes::from_static(&[0; 5])))
            .unwrap_err();
        assert_eq!(error.reason, EndReason::BadAudio);
    }
}
