//! What a session is about to send to its row: long messages cut into pieces, each with its charge.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::audio::decode::Meter;
use crate::audio::ogg;
use crate::pipeline::credits::MIN_CHARGE;
use crate::pipeline::input::text::{self, Cutter};
use crate::pipeline::links::LinkError;
use crate::pipeline::rows::RowLease;
use crate::stream::end::{End, EndReason};
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE, seconds};
use crate::stream::input::{AudioBytes, Control, Encoding};
use crate::stream::voice::Voice;

enum Piece {
    Audio(AudioBytes),
    Text(text::Piece),
    Voice(Arc<Voice>),
    Control(Control),
}

/// What comes after the text that waits.
enum Later {
    Text(Cutter),
    Voice(Arc<Voice>),
    Control(Control),
}

/// Most messages that are taken while text waits.
const LATER: usize = 64;

/// Messages of the client on their way.
pub(super) struct Outgoing {
    meter: Meter,
    /// Most credits one piece may take.
    largest: u32,
    /// Most bytes of text that wait while more is read.
    most_text: usize,
    /// The stream speaks: its input is text.
    speaks: bool,
    rest: Option<AudioBytes>,
    /// Text, and what follows it.
    later: VecDeque<Later>,
    next: Option<(Piece, u32)>,
    /// The end was reached: nothing follows.
    ended: bool,
}

impl Outgoing {
    pub(super) fn new(largest: u32, most_text: usize, speaks: bool) -> Self {
        Self {
            meter: Meter::default(),
            largest,
            most_text,
            speaks,
            rest: None,
            later: VecDeque::new(),
            next: None,
            ended: false,
        }
    }

    /// Takes the next message. Only when [`Self::takes_more`].
    pub(super) fn control(&mut self, control: Control) {
        match control {
            // It overtakes what it is about.
            Control::Cancel => {
                let is_cancel = |later: &Later| matches!(later, Later::Control(Control::Cancel));
                self.later.retain(is_cancel);
                if let Some((Piece::Control(Control::Cancel), _)) = self.next {
                    // Each is answered.
                    self.later.push_back(Later::Control(control));
                } else {
                    self.next = Some((Piece::Control(control), MIN_CHARGE));
                }
            }
            control if self.speaks => self.queue(Later::Control(control)),
            control => self.next = Some((Piece::Control(control), MIN_CHARGE)),
        }
    }

    /// Takes the next message. Only when [`Self::takes_more`].
    ///
    /// # Errors
    /// As [`Self::cut`].
    pub(super) fn audio(&mut self, audio: AudioBytes) -> Result<(), End> {
        self.rest = Some(audio);
        self.cut()
    }

    /// Takes the next message. Only when [`Self::takes_more`].
    pub(super) fn text(&mut self, text: String) {
        self.queue(Later::Text(Cutter::new(text)));
    }

    /// Takes the next message. Only when [`Self::takes_more`].
    pub(super) fn voice(&mut self, voice: Arc<Voice>) {
        self.queue(Later::Voice(voice));
    }

    fn queue(&mut self, later: Later) {
        self.later.push_back(later);
        if self.next.is_none() {
            self.say();
        }
    }

    // Makes the next piece of what a stream is to say ready.
    fn say(&mut self) {
        while let Some(first) = self.later.front_mut() {
            let piece = match first {
                Later::Text(text) => text.next().map(Piece::Text),
                Later::Voice(voice) => Some(Piece::Voice(Arc::clone(voice))),
                Later::Control(Control::End) => {
                    self.later.clear();
                    self.ended = true;
                    return;
                }
                Later::Control(control) => Some(Piece::Control(*control)),
            };
            if !matches!(first, Later::Text(text) if text.left() > 0) {
                self.later.pop_front();
            }
            if let Some(piece) = piece {
                self.next = Some((piece, MIN_CHARGE));
                return;
            }
        }
    }

    /// Whether the next message can be taken: nothing waits, or only text does, and not too much of it. A cancel must not be
    /// stuck behind a long text.
    pub(super) fn takes_more(&self) -> bool {
        let text = |later: &Later| match later {
            Later::Text(text) => text.left(),
            Later::Voice(_) | Later::Control(_) => 0,
        };
        match self.next {
            None => true,
            Some(_) if !self.speaks || self.later.len() >= LATER => false,
            Some(_) => self.later.iter().map(text).sum::<usize>() < self.most_text,
        }
    }

    /// Whether the stream's input is text.
    pub(super) fn speaks(&self) -> bool {
        self.speaks
    }

    /// True when the client's last message has been sent.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// Returns the charge of what waits, if anything does.
    pub(super) fn waiting(&self) -> Option<u32> {
        self.next.as_ref().map(|(_, charge)| *charge)
    }

    /// Returns how many credits must be left when what waits takes its own: those of a cancel, which must always find room.
    pub(super) fn reserve(&self) -> u32 {
        match self.next {
            Some((Piece::Control(Control::Cancel), _)) => 0,
            _ if self.speaks => MIN_CHARGE,
            _ => 0,
        }
    }

    /// Sends what waits; its charge was taken.
    ///
    /// # Errors
    /// The pipeline has ended.
    pub(super) fn send(&mut self, lease: &RowLease) -> Result<(), LinkError> {
        match self.next.take() {
            Some((Piece::Audio(audio), charge)) => lease.audio(audio, charge),
            Some((Piece::Text(piece), _)) => lease.text(piece),
            Some((Piece::Voice(voice), _)) => lease.voice(voice),
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
            self.say();
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
        let mut outgoing = Outgoing::new(28_800, 0, false);
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
        let mut outgoing = Outgoing::new(28_800, 0, false);
        let telephone = Encoding::Pcm16(PcmRate::new(8_000).unwrap());
        outgoing.audio(audio(telephone, 640)).unwrap();
        assert_eq!(outgoing.waiting(), Some(960));
    }

    /// What goes out until the end or the wait for more, by name.
    fn sent(outgoing: &mut Outgoing) -> Vec<String> {
        let name = |piece| match piece {
            Piece::Text(text::Piece::Word(word)) => word.into(),
            Piece::Text(text::Piece::Pause { steps, .. }) => format!("[{steps}]"),
            Piece::Control(control) => format!("{control:?}"),
            Piece::Voice(_) => "voice".to_owned(),
            Piece::Audio(_) => "audio".to_owned(),
        };
        let mut out = Vec::new();
        while let Some((piece, _)) = outgoing.next.take() {
            out.push(name(piece));
            outgoing.cut().unwrap();
        }
        out
    }

    #[test]
    fn text_goes_out_by_the_word_and_its_end_comes_after_it() {
        let mut outgoing = Outgoing::new(28_800, 1000, true);
        outgoing.text("one <break time=\"1s\"/>two ".to_owned());
        outgoing.control(Control::Flush);
        outgoing.text("three".to_owned());
        outgoing.control(Control::End);
        assert!(!outgoing.has_ended());
        assert_eq!(sent(&mut outgoing), ["one", "[12]", "two", "Flush", "three"]);
        assert!(outgoing.has_ended());
    }

    #[test]
    fn a_cancel_overtakes_the_text_that_waits_and_finds_credits_left() {
        let mut outgoing = Outgoing::new(28_800, 20, true);
        outgoing.text("one two".to_owned());
        assert!(outgoing.takes_more());
        assert_eq!(outgoing.reserve(), MIN_CHARGE);
        outgoing.text("a longer text that has to wait".to_owned());
        assert!(!outgoing.takes_more());
        outgoing.control(Control::Cancel);
        assert_eq!((outgoing.reserve(), outgoing.takes_more()), (0, true));
        outgoing.text("never".to_owned());
        outgoing.control(Control::Cancel);
        outgoing.text("three".to_owned());
        assert_eq!(sent(&mut outgoing), ["Cancel", "Cancel", "three"]);
    }

    #[test]
    fn torn_floats_are_bad_audio() {
        let mut outgoing = Outgoing::new(28_800, 0, false);
        let end = outgoing.audio(audio(Encoding::F32, 5)).unwrap_err();
        assert_eq!(end.reason, EndReason::BadAudio);
    }
}
