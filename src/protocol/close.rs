//! The WebSocket close code and the words for each way a session ends (RFC 6455, section 7.4). One table.

use crate::stream::end::{End, EndReason};

/// Returns the code of the close frame and what it says where there is nothing more exact to say.
#[must_use]
pub const fn close_frame(reason: EndReason) -> (u16, &'static str) {
    match reason {
        EndReason::Done => (1000, "end of stream"),
        EndReason::ClientClosed => (1000, ""),
        EndReason::PeerGone => (1001, "peer is gone"),
        EndReason::GoingAway => (1001, "server is stopping"),
        EndReason::Unsupported => (1003, "unknown message type"),
        EndReason::BadMessage => (1007, "message cannot be decoded"),
        EndReason::BadAudio => (1007, "audio cannot be decoded"),
        EndReason::Idle => (1008, "no audio for too long"),
        EndReason::Stalled => (1008, "audio was not taken in time"),
        EndReason::SlowReader => (1008, "client reads too slowly"),
        EndReason::TooLong => (1008, "longest session reached"),
        EndReason::TooBig => (1009, "message too big"),
        EndReason::Protocol => (1002, "WebSocket protocol error"),
        EndReason::EngineFailed => (1011, "internal failure"),
        EndReason::Restart => (1012, "server restarts"),
        EndReason::Full => (1013, "no free channels, try again later"),
        EndReason::Unauthorized => (4401, "credentials are missing or no longer valid"),
        EndReason::Forbidden => (4403, "not allowed"),
    }
}

/// Returns the code of the close frame.
#[must_use]
pub const fn code(reason: EndReason) -> u16 {
    close_frame(reason).0
}

/// Returns what to tell the client: what the end says of itself, or else what the table says of its reason.
#[must_use]
pub fn text(end: &End) -> &str {
    end.message.as_deref().unwrap_or(close_frame(end.reason).1)
}

/// Most bytes of a close frame's text (RFC 6455, section 5.5: 125 with the code).
const MAX_TEXT: usize = 123;

/// Returns code and text of the close frame, the text cut to what a close frame holds.
#[must_use]
pub fn frame(end: &End) -> (u16, &str) {
    let text = text(end);
    (code(end.reason), &text[..text.floor_char_boundary(MAX_TEXT)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_valid_code_and_a_text_that_fits_a_close_frame() {
        for reason in EndReason::ALL {
            let (code, text) = close_frame(reason);
            assert!(matches!(code, 1000..=1003 | 1007..=1014 | 4000..=4999));
            assert!(text.len() <= MAX_TEXT);
        }
    }

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let end = End::because(EndReason::BadAudio, "\u{e9}".repeat(100));
        let (code, text) = frame(&end);
        assert_eq!((code, text.len()), (1007, 122));
    }
}
