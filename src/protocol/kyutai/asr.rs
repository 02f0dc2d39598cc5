//! Kyutai's speech-to-text protocol: audio and markers in; steps, words and their ends out.

use bytes::Bytes;

use super::Form;
use super::client::{BadMessage, ClientMsg, Sound};
use super::server::ServerMsg;
use crate::protocol::close;
use crate::protocol::dialect::{Decoder, Dialect, Encoder, FrameKind};
use crate::protocol::query::BadQuery;
use crate::stream::end::End;
use crate::stream::input::{AudioBytes, Control, Encoding, Input};
use crate::stream::output::Output;
use crate::stream::voice::SpeakerRequest;

/// Opens the dialect as `query` asks.
///
/// # Errors
/// The query has a known key with a value that means nothing.
pub fn open(query: &str) -> Result<Dialect, BadQuery> {
    Form::from_query(query).map(dialect)
}

/// The dialect of a session that speaks `form`.
#[must_use]
pub fn dialect(form: Form) -> Dialect {
    Dialect {
        decoder: Box::new(Half(form)),
        encoder: Box::new(Half(form)),
        can_queue: form.extras,
        speaker: SpeakerRequest::default(),
    }
}

/// Either half: the form is all there is to know.
struct Half(Form);

impl Decoder for Half {
    fn decode(&mut self, kind: FrameKind, message: Bytes) -> Result<Option<Input>, End> {
        let message = match kind {
            FrameKind::Binary => ClientMsg::from_binary(message, self.0).map(Some),
            FrameKind::Text => ClientMsg::from_text(&message, self.0),
        };
        Ok(message?.map(|message| input(message, self.0)))
    }
}

impl Encoder for Half {
    fn encode(&mut self, output: Output, message: &mut Vec<u8>) -> Option<FrameKind> {
        // Kyutai's server says nothing of the steps of a model without pause heads.
        if matches!(&output, Output::Step { pauses, .. } if pauses.is_empty()) {
            return None;
        }
        self.write(&ServerMsg::of(output)?, message)
    }

    fn refuse(&mut self, why: &str, message: &mut Vec<u8>) -> Option<FrameKind> {
        let why = why.to_owned();
        self.write(&ServerMsg::Error { message: why }, message)
    }

    fn close<'e>(&self, end: &'e End) -> (u16, &'e str) {
        close::frame(end)
    }
}

impl Half {
    fn write(&self, said: &ServerMsg, message: &mut Vec<u8>) -> Option<FrameKind> {
        let Self(form) = self;
        if said.is_extra() && !form.extras {
            return None;
        }
        said.encode(*form, message);
        Some(if form.json {
            FrameKind::Text
        } else {
            FrameKind::Binary
        })
    }
}

fn input(message: ClientMsg, form: Form) -> Input {
    let audio = |encoding, data| Input::Audio(AudioBytes { encoding, data });
    match message {
        ClientMsg::Audio(Sound::F32(data)) => audio(Encoding::F32, data),
        ClientMsg::Audio(Sound::Pcm16(data)) => audio(Encoding::Pcm16(form.pcm16.unwrap_or_default()), data),
        ClientMsg::Audio(Sound::Ogg(data)) => audio(Encoding::OggOpus, data),
        ClientMsg::Init => Input::Control(Control::Restart),
        ClientMsg::Marker { id } => Input::Control(Control::Mark(id)),
        ClientMsg::Flush => Input::Control(Control::Flush),
        ClientMsg::EndOfStream => Input::Control(Control::End),
        ClientMsg::Renew { token } => Input::Renew(token),
    }
}

impl From<BadMessage> for End {
    fn from(bad: BadMessage) -> Self {
        Self::because(bad.reason, bad.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::end::EndReason;

    fn halves(query: &str) -> Dialect {
        open(query).unwrap()
    }

    #[test]
    fn classic_clients_are_told_nothing_they_do_not_know() {
        let (mut classic, mut extras) = (halves(""), halves("extras=1"));
        assert!(!classic.can_queue && extras.can_queue);
        let mut message = Vec::new();
        for output in [Output::Flushed, Output::End, Output::Queued { position: 1 }] {
            assert_eq!(classic.encoder.encode(output.clone(), &mut message), None);
            let kind = extras.encoder.encode(output, &mut message);
            assert_eq!(kind, Some(FrameKind::Binary));
        }
        let kind = classic.encoder.encode(Output::Ready, &mut message);
        assert_eq!(
            (kind, &*message),
            (Some(FrameKind::Binary), &b"\x81\xa4type\xa5Ready"[..])
        );
        let kind = classic.encoder.refuse("no free channels", &mut message);
        assert_eq!(kind, Some(FrameKind::Binary));
        assert!(message.starts_with(b"\x82\xa4type\xa5Error\xa7message"));
    }

    #[test]
    fn a_step_without_pause_heads_is_not_said() {
        let mut classic = halves("");
        for (heads, kind) in [(0, None), (4, Some(FrameKind::Binary))] {
            let step = Output::Step {
                frame: 1,
                pauses: std::iter::repeat_n(0.5, heads).collect(),
                queued: 0,
            };
            assert_eq!(classic.encoder.encode(step, &mut Vec::new()), kind);
        }
    }

    #[test]
    fn raw_pcm_has_the_rate_of_the_query_and_json_controls_it() {
        let mut dialect = halves("input=pcm16&rate=44100&format=json");
        let audio = dialect
            .decoder
            .decode(FrameKind::Binary, Bytes::from_static(&[1, 2]));
        let Ok(Some(Input::Audio(audio))) = audio else {
            panic!("{audio:?}")
        };
        assert!(matches!(audio.encoding, Encoding::Pcm16(rate) if rate.hz() == 44_100));
        let flush = Bytes::from_static(b"{\"type\":\"Flush\"}");
        assert_eq!(
            dialect.decoder.decode(FrameKind::Text, flush),
            Ok(Some(Input::Control(Control::Flush)))
        );
        let kind = dialect.encoder.encode(Output::Flushed, &mut Vec::new());
        assert_eq!(kind, Some(FrameKind::Text));
    }

    #[test]
    fn what_cannot_be_read_ends_the_stream_with_words() {
        let mut classic = halves("");
        let end = classic
            .decoder
            .decode(FrameKind::Binary, Bytes::from_static(b"\xc1"));
        let end = end.unwrap_err();
        assert_eq!(end.reason, EndReason::BadMessage);
        assert_eq!(classic.encoder.close(&end).0, 1007);
        // Kyutai's server ignores text frames.
        let text = classic
            .decoder
            .decode(FrameKind::Text, Bytes::from_static(b"hello"));
        assert_eq!(text, Ok(None));
    }
}
