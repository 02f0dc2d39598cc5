//! The body of an upload on its way to its decoder: so many bytes, and not too slowly.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use tokio::time::{Instant, timeout};

use super::form::{self, Fields};
use super::sink::{BodyError, Sink};
use crate::config::Limits;

/// Hands `body` to `to` as fast as it comes, and closes `to` at the end of the file: of the body, or of the file in it when it
/// is a form with `boundary` between its parts, whose other parts are put into `fields`.
pub(super) async fn feed(
    body: Body,
    boundary: Option<String>,
    to: impl AsyncWrite + Unpin,
    fields: &Mutex<Fields>,
    limits: &Limits,
) -> Result<(), BodyError> {
    let mut pieces = std::pin::pin!(paced(body, limits));
    let mut to = Sink(Some(to));
    if let Some(boundary) = boundary {
        form::feed(&mut pieces, boundary, to, fields).await?;
        // What is behind the form does not matter; it is taken for the same reason as in `Sink`.
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
