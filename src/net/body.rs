//! The body of an upload on its way to its decoder: so many bytes, and not too slowly.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use tokio::io::{AsyncWrite, AsyncWriteExt as _};
use tokio::time::{Instant, timeout};

use super::form;
use crate::config::Limits;
use crate::protocol::close::CloseReason;
use crate::session::wire::Farewell;

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

impl From<BodyError> for Farewell {
    fn from(error: BodyError) -> Self {
        let reason = match error {
            BodyError::TooBig => return CloseReason::TooBig.into(),
            BodyError::Slow { .. } => CloseReason::PeerGone,
            BodyError::Cut { .. } | BodyError::NoFile | BodyError::Form(_) => CloseReason::BadMessage,
        };
        Self {
            reason,
            text: Some(error.to_string()),
        }
    }
}

/// Where a file goes: a decoder that may end before the file does.
pub(super) struct Sink<W>(Option<W>);

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

/// Hands `body` to `to` as fast as it comes, and closes `to` at the end of the file: of the body, or of the file in it when it
/// is a form with `boundary` between its parts.
pub(super) async fn feed(
    body: Body,
    boundary: Option<String>,
    to: impl AsyncWrite + Unpin,
    limits: &Limits,
) -> Result<(), BodyError> {
    let mut pieces = std::pin::pin!(paced(body, limits));
    let mut to = Sink(Some(to));
    if let Some(boundary) = boundary {
        form::feed(&mut pieces, boundary, &mut to).await?;
        drop(to);
        // What is behind the file does not matter; it is taken for the same reason as in `Sink`.
        while let Ok(Some(_)) = pieces.try_next().await {}
        return Ok(());
    }
    while let Some(piece) = pieces.try_next().await? {
        to.write(&piece).await;
    }
    Ok(())
}

/// The pieces of `body`, as many and as fast as `limits` allow.
fn paced(body: Body, limits: &Limits) -> impl Stream<Item = Result<Bytes, BodyError>> + Send {
    let most = limits.max_file_bytes;
    let pace = Pace::new(limits.min_upload_rate, limits.peer_timeout);
    stream::try_unfold(
        (body.into_data_stream(), pace, 0),
        move |(mut body, mut pace, received)| async move {
            let Some(piece) = pace.next(&mut body).await? else {
                return Ok(None);
            };
            let piece = piece.map_err(|_| BodyError::Cut { received })?;
            let received = received + piece.len() as u64;
            if received > most {
                return Err(BodyError::TooBig);
            }
            Ok(Some((piece, (body, pace, received))))
        },
    )
}

/// How slow a client may be: a bucket of time that empties while the client is waited for and fills with each byte.
struct Pace {
    rate: u32,
    most: Duration,
    left: Duration,
}

impl Pace {
    fn new(rate: u32, most: Duration) -> Self {
        Self {
            rate,
            most,
            left: most,
        }
    }

    /// The next piece of `stream`; none at its end.
    async fn next<E>(
        &mut self,
        stream: &mut (impl Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Result<Bytes, E>>, BodyError> {
        let began = Instant::now();
        let Ok(piece) = timeout(self.left, stream.next()).await else {
            return Err(BodyError::Slow {
                rate: self.rate,
                over: self.most,
            });
        };
        let bytes = piece
            .as_ref()
            .and_then(|piece| piece.as_ref().ok())
            .map_or(0, Bytes::len);
        self.account(began.elapsed(), bytes);
        Ok(piece)
    }

    /// The client was waited for so long, and then sent so many bytes.
    fn account(&mut self, waited: Duration, bytes: usize) {
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.rate.max(1)));
        self.left = (self.left.saturating_sub(waited) + earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_client_may_pause_and_may_not_drip() {
        let mut pace = Pace::new(100, 20 * SECOND);
        pace.account(19 * SECOND, 1_500);
        assert_eq!(pace.left, 16 * SECOND);
        pace.account(SECOND, 1_000_000);
        assert_eq!(
            pace.left,
            20 * SECOND,
            "no more than a full bucket, whatever came at once"
        );
        pace.account(15 * SECOND, 1);
        pace.account(15 * SECOND, 1);
        assert!(pace.left < SECOND);
    }

    #[tokio::test]
    async fn a_client_whose_time_is_up_is_told_how_fast_to_send() {
        let mut pace = Pace::new(100, Duration::ZERO);
        let mut never = stream::pending::<Result<Bytes, ()>>();
        let slow = BodyError::Slow {
            rate: 100,
            over: Duration::ZERO,
        };
        assert_eq!(pace.next(&mut never).await, Err(slow));
    }
}
