//! Messages from sessions to the input stage and from there to the engine, each about one row.

use std::sync::Arc;

use super::credits::Credits;
use super::frame::FrameBuf;
use super::input::text::Piece;
use super::outbox::OutboxTx;
use super::speaking::Saying;
use crate::stream::end::EndReason;
use crate::stream::ids::RowKey;
use crate::stream::input::{AudioBytes, Control};
use crate::stream::voice::{Speaker, Voice};

/// What the stages need to know of a session that takes a row.
pub struct Attach {
    /// Credits of the session's input: each stage gives back those of the input it uses up.
    pub credits: Arc<Credits>,
    pub outbox: OutboxTx,
    pub speaker: Speaker,
}

/// From sessions to the input stage. One sender per row at a time, so the order of a row is the order of its session.
pub enum Ingress {
    Attach {
        key: RowKey,
        attach: Box<Attach>,
    },
    /// Audio for which `charge` credits were taken.
    Audio {
        key: RowKey,
        charge: u32,
        audio: AudioBytes,
    },
    /// A word or a pause, for which [`MIN_CHARGE`](super::credits::MIN_CHARGE) credits were taken.
    Text {
        key: RowKey,
        piece: Piece,
    },
    /// A voice, for which as many were taken.
    Voice {
        key: RowKey,
        voice: Arc<Voice>,
    },
    Control {
        key: RowKey,
        control: Control,
    },
    Detach {
        key: RowKey,
    },
}

/// From the input stage to the engine.
pub enum Pcm {
    Attach {
        key: RowKey,
        attach: Box<Attach>,
    },
    /// A whole frame, or what precedes a control message. `credit` is what its audio was charged.
    Frame {
        key: RowKey,
        buf: FrameBuf,
        credit: u32,
    },
    /// Something that a speaking row is told.
    Saying {
        key: RowKey,
        saying: Saying,
    },
    Control {
        key: RowKey,
        control: Control,
    },
    /// The audio cannot be decoded.
    Fail {
        key: RowKey,
        reason: EndReason,
    },
    Detach {
        key: RowKey,
    },
    /// A client took output for which its row was waiting: look again.
    Wake,
}
