//! Why a stream ended. What a client is told of it (a close code, a status) is its dialect's business.

/// Why a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum EndReason {
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

impl EndReason {
    /// Every reason, in the order of the enum.
    pub const ALL: [Self; 18] = [
        Self::Done,
        Self::ClientClosed,
        Self::PeerGone,
        Self::GoingAway,
        Self::Unsupported,
        Self::BadMessage,
        Self::BadAudio,
        Self::Idle,
        Self::Stalled,
        Self::SlowReader,
        Self::TooLong,
        Self::TooBig,
        Self::Protocol,
        Self::EngineFailed,
        Self::Restart,
        Self::Full,
        Self::Unauthorized,
        Self::Forbidden,
    ];

    /// Returns the value of the metric label and of the `reason` field in logs.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::ClientClosed => "client_closed",
            Self::PeerGone => "peer_gone",
            Self::GoingAway => "going_away",
            Self::Unsupported => "unsupported",
            Self::BadMessage => "bad_message",
            Self::BadAudio => "bad_audio",
            Self::Idle => "idle",
            Self::Stalled => "stalled",
            Self::SlowReader => "slow_reader",
            Self::TooLong => "too_long",
            Self::TooBig => "too_big",
            Self::Protocol => "protocol",
            Self::EngineFailed => "engine_failed",
            Self::Restart => "restart",
            Self::Full => "full",
            Self::Unauthorized => "unauthorized",
            Self::Forbidden => "forbidden",
        }
    }
}

/// The end of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    pub reason: EndReason,
    /// What to tell the client, where there is more to say than the reason does.
    pub message: Option<String>,
}

impl End {
    /// Ends for `reason`, with more to say.
    pub fn because(reason: EndReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: Some(message.into()),
        }
    }
}

impl From<EndReason> for End {
    fn from(reason: EndReason) -> Self {
        Self {
            reason,
            message: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_place_and_has_its_own_label() {
        for (i, reason) in EndReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, i, "{} is out of order", reason.label());
            let same = EndReason::ALL
                .iter()
                .filter(|other| other.label() == reason.label());
            assert_eq!(same.count(), 1);
        }
    }
}
