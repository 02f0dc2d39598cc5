//! Messages of the server, as they are on the wire, and their two encodings.

use serde::{Deserialize, Serialize, Serializer};

use super::Form;
use crate::stream::output::{Output, Pauses};

/// One message to the client. Times are seconds of the stream's audio.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type")]
pub enum ServerMsg {
    /// The model is ready for this stream, at its start or after `Init`.
    Ready,
    /// One frame was processed.
    Step {
        /// Frames of this stream before this one.
        step_idx: u64,
        #[serde(serialize_with = "list", deserialize_with = "unlist")]
        prs: Pauses,
        /// Samples that wait for the model.
        buffered_pcm: u32,
    },
    Word {
        text: String,
        start_time: f64,
    },
    /// The last word ended.
    EndWord {
        stop_time: f64,
    },
    /// All audio before the client's marker has been transcribed.
    Marker {
        id: i64,
    },
    Error {
        message: String,
    },
    /// Extra: sessions in front of this one.
    Queued {
        position: u32,
    },
    /// Extra: the server stops; the session will be ended in `deadline_s` seconds.
    Draining {
        deadline_s: f64,
    },
    /// Extra: all audio before the client's `Flush` has been transcribed.
    Flushed,
    /// Extra: the stream is over and nothing more follows.
    EndOfStream,
    /// Extra: the token of a `Renew` was accepted; the session may go on for `valid_s` seconds.
    Renewed {
        valid_s: f64,
    },
    /// Extra: the token of a `Renew` was refused; the session ends when its first one does.
    NotRenewed,
}

impl ServerMsg {
    /// Returns the message that tells of `output`; none for what only a stream that speaks tells.
    #[must_use]
    pub fn of(output: Output) -> Option<Self> {
        Some(match output {
            Output::Ready => Self::Ready,
            Output::Step {
                frame,
                pauses,
                queued,
            } => Self::Step {
                step_idx: frame,
                prs: pauses,
                buffered_pcm: queued,
            },
            Output::Word { text, start } => Self::Word {
                text,
                start_time: start,
            },
            Output::WordEnd { stop } => Self::EndWord { stop_time: stop },
            Output::Mark { id } => Self::Marker { id },
            Output::Flushed => Self::Flushed,
            Output::End => Self::EndOfStream,
            Output::Queued { position } => Self::Queued { position },
            Output::Draining { left } => Self::Draining {
                deadline_s: left.as_secs_f64(),
            },
            Output::Renewed { valid } => Self::Renewed {
                valid_s: valid.as_secs_f64(),
            },
            Output::NotRenewed => Self::NotRenewed,
            Output::Sound(_) | Output::Spoken { .. } | Output::Cancelled { .. } => return None,
        })
    }
}

fn list<S: Serializer>(pauses: &Pauses, to: S) -> Result<S::Ok, S::Error> {
    to.collect_seq(pauses)
}

fn unlist<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Pauses, D::Error> {
    let list = Vec::<f32>::deserialize(from)?;
    Pauses::try_from(list.as_slice()).map_err(serde::de::Error::custom)
}

impl ServerMsg {
    /// True for messages that Kyutai's clients do not know and would fail on.
    #[must_use]
    pub fn is_extra(&self) -> bool {
        match self {
            Self::Ready
            | Self::Step { .. }
            | Self::Word { .. }
            | Self::EndWord { .. }
            | Self::Marker { .. }
            | Self::Error { .. } => false,
            Self::Queued { .. }
            | Self::Draining { .. }
            | Self::Flushed
            | Self::EndOfStream
            | Self::Renewed { .. }
            | Self::NotRenewed => true,
        }
    }

    /// Writes the message into `out`, which is cleared first, as a session that speaks `form` expects it.
    pub fn encode(&self, form: Form, out: &mut Vec<u8>) {
        out.clear();
        let written = if form.json {
            serde_json::to_writer(&mut *out, self).map_err(|e| e.to_string())
        } else {
            let mut writer = rmp_serde::Serializer::new(&mut *out).with_struct_map();
            self.serialize(&mut writer).map_err(|e| e.to_string())
        };
        // invariant: writing plain data into memory cannot fail.
        debug_assert_eq!(written, Ok(()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(message: &ServerMsg) -> Vec<u8> {
        let mut out = vec![1, 2, 3];
        message.encode(Form::default(), &mut out);
        out
    }

    #[test]
    fn messages_are_the_bytes_that_published_clients_read() {
        assert_eq!(bytes(&ServerMsg::Ready), b"\x81\xa4type\xa5Ready");
        let word = ServerMsg::Word {
            text: "hé".to_owned(),
            start_time: 1.5,
        };
        assert_eq!(
            bytes(&word),
            b"\x83\xa4type\xa4Word\xa4text\xa3h\xc3\xa9\xaastart_time\xcb\x3f\xf8\0\0\0\0\0\0"
        );
        let step = ServerMsg::Step {
            step_idx: 300,
            prs: [0.5, 1.0].into_iter().collect(),
            buffered_pcm: 7,
        };
        assert_eq!(
            bytes(&step),
            b"\x84\xa4type\xa4Step\xa8step_idx\xcd\x01\x2c\xa3prs\x92\xca\x3f\0\0\0\xca\x3f\x80\0\0\xacbuffered_pcm\x07"
        );
        assert_eq!(
            bytes(&ServerMsg::EndWord { stop_time: 2.0 }),
            b"\x82\xa4type\xa7EndWord\xa9stop_time\xcb\x40\0\0\0\0\0\0\0"
        );
        assert_eq!(
            bytes(&ServerMsg::Marker { id: -1 }),
            b"\x82\xa4type\xa6Marker\xa2id\xff"
        );
        assert_eq!(
            bytes(&ServerMsg::Error {
                message: "no".to_owned()
            }),
            b"\x82\xa4type\xa5Error\xa7message\xa2no"
        );
    }

    #[test]
    fn json_has_the_same_fields() {
        let form = Form {
            extras: true,
            json: true,
            pcm16: None,
        };
        let mut out = Vec::new();
        let step = ServerMsg::Step {
            step_idx: 2,
            prs: [0.25].into_iter().collect(),
            buffered_pcm: 0,
        };
        step.encode(form, &mut out);
        assert_eq!(
            out,
            br#"{"type":"Step","step_idx":2,"prs":[0.25],"buffered_pcm":0}"#
        );
        assert_eq!(serde_json::from_slice::<ServerMsg>(&out).unwrap(), step);
        ServerMsg::Queued { position: 3 }.encode(form, &mut out);
        assert_eq!(out, br#"{"type":"Queued","position":3}"#);
    }
}
