//! Why sessions end, and the WebSocket close code of each reason. One table.

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum CloseReason {
    /// The stream was ended by a message and everything it held was sent.
    Done,
    /// The client sent a close frame.
    ClientClosed,
    /// The connection ended without a close frame, or the peer answers nothing any more.
    PeerGone,
    /// The server stops before the session was served.
    GoingAway,
    /// A message is of no known type.
    Unsupported,
    /// A message cannot be decoded.
    BadMessage,
    /// The audio cannot be decoded.
    BadAudio,
    /// No audio for too long.
    Idle,
    /// The session's audio was not taken for too long.
    Stalled,
    /// The client does not take what it is sent.
    SlowReader,
    /// The session reached its longest duration.
    TooLong,
    /// A message, or the audio in it, is too big.
    TooBig,
    /// The WebSocket rules were broken.
    Protocol,
    /// The model or a stage failed.
    EngineFailed,
    /// The server stops and the grace period is over.
    Restart,
    /// No row and no place in the queue, or the wait was too long.
    Full,
    /// No valid credentials, or they expired.
    Unauthorized,
    /// The credentials do not allow this.
    Forbidden,
}

/// One line of the table.
pub struct CloseRow {
    pub reason: CloseReason,
    /// Code of the close frame.
    pub code: u16,
    /// Value of the metric label and of the `reason` field in logs.
    pub label: &'static str,
    /// What the close frame says.
    pub text: &'static str,
}

const fn row(reason: CloseReason, code: u16, label: &'static str, text: &'static str) -> CloseRow {
    CloseRow {
        reason,
        code,
        label,
        text,
    }
}

/// Every reason, in the order of the enum.
pub const TABLE: [CloseRow; 18] = [
    row(CloseReason::Done, 1000, "done", "end of stream"),
    row(CloseReason::ClientClosed, 1000, "client_closed", ""),
    row(CloseReason::PeerGone, 1001, "peer_gone", "peer is gone"),
    row(CloseReason::GoingAway, 1001, "going_away", "server is stopping"),
    row(
        CloseReason::Unsupported,
        1003,
        "unsupported",
        "unknown message type",
    ),
    row(
        CloseReason::BadMessage,
        1007,
        "bad_message",
        "message cannot be decoded",
    ),
    row(
        CloseReason::BadAudio,
        1007,
        "bad_audio",
        "audio cannot be decoded",
    ),
    row(CloseReason::Idle, 1008, "idle", "no audio for too long"),
    row(
        CloseReason::Stalled,
        1008,
        "stalled",
        "audio was not taken in time",
    ),
    row(
        CloseReason::SlowReader,
        1008,
        "slow_reader",
        "client reads too slowly",
    ),
    row(CloseReason::TooLong, 1008, "too_long", "longest session reached"),
    row(CloseReason::TooBig, 1009, "too_big", "message too big"),
    row(
        CloseReason::Protocol,
        1002,
        "protocol",
        "WebSocket protocol error",
    ),
    row(
        CloseReason::EngineFailed,
        1011,
        "engine_failed",
        "internal failure",
    ),
    row(CloseReason::Restart, 1012, "restart", "server restarts"),
    row(
        CloseReason::Full,
        1013,
        "full",
        "no free channels, try again later",
    ),
    row(
        CloseReason::Unauthorized,
        4401,
        "unauthorized",
        "credentials are missing or no longer valid",
    ),
    row(CloseReason::Forbidden, 4403, "forbidden", "not allowed"),
];

impl CloseReason {
    /// Its line of the table.
    #[must_use]
    pub fn row(self) -> &'static CloseRow {
        &TABLE[self as usize]
    }

    /// Code of the close frame.
    #[must_use]
    pub fn code(self) -> u16 {
        self.row().code
    }

    /// Value of the metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        self.row().label
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_its_own_line_label_and_a_valid_code() {
        for (i, row) in TABLE.iter().enumerate() {
            assert_eq!(row.reason as usize, i, "{} is out of order", row.label);
            assert!(matches!(row.code, 1000..=1003 | 1007..=1014 | 4000..=4999));
            assert!(row.text.len() <= 123, "a close frame holds 125 bytes");
            assert_eq!(TABLE.iter().filter(|other| other.label == row.label).count(), 1);
        }
    }
}
