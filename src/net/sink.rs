//! Where the file of an upload goes, and why it may not get there.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::stream::end::{End, EndReason};

/// Why a body cannot be taken to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BodyError {
    #[error("the file is too big")]
    TooBig,
    #[error(
        "the upload was too slow: it must keep to {rate} bytes per second and may fall behind by {} s; send the file again",
        over.as_secs_f64()
    )]
    Slow { rate: u32, over: Duration },
    #[error("the upload was cut off after {received} bytes: send the file again")]
    Cut { received: u64 },
    #[error(
        "the form has no file: send it as the part `file`, like curl -F file=@talk.m4a does, or the file alone as the body"
    )]
    NoFile,
    #[error(
        "the form cannot be read: {0}; send the file alone as the body, like curl --data-binary @talk.m4a does"
    )]
    Form(&'static str),
}

impl From<BodyError> for End {
    fn from(error: BodyError) -> Self {
        let reason = match error {
            BodyError::TooBig => return EndReason::TooBig.into(),
            BodyError::Slow { .. } => EndReason::PeerGone,
            BodyError::Cut { .. } | BodyError::NoFile | BodyError::Form(_) => EndReason::BadMessage,
        };
        Self::because(reason, error.to_string())
    }
}

/// Where a file goes: a decoder that may end before the file does.
pub(super) struct Sink<W>(pub(super) Option<W>);

impl<W: AsyncWrite + Unpin> Sink<W> {
    /// A decoder that has ended says itself how; what it left is dropped, so that the client comes to read the answer.
    pub(super) async fn write(&mut self, piece: &[u8]) {
        if let Some(pipe) = &mut self.0
            && pipe.write_all(piece).await.is_err()
        {
            self.0 = None;
        }
    }
}
