//! The WebSocket close code and the words for each way a session ends (RFC 6455, section 7.4). One table.

use crate::stream::end::EndReason;

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

/// Returns what the close frame says where there is nothing more exact to say.
#[must_use]
pub const fn text(reason: EndReason) -> &'static str {
    close_frame(reason).1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_valid_code_and_a_text_that_fits_a_close_frame() {
        for reason in EndReason::ALL {
            let (code, text) = close_frame(reason);
            assert!(matches!(code, 1000..=1003 | 1007..=1014 | 4000..=4999));
            assert!(text.len() <= 123, "a close frame holds 125 bytes");
        }
    }
}
