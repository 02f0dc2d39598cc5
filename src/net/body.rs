//! The body of an upload on its way to its decoder: so many bytes, and not too slowly.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::AsyncWriteExt as _;
use tokio::process::ChildStdin;
use tokio::time::{Instant, timeout};

use crate::config::Limits;
use crate::protocol::close::CloseReason;
use crate::session::wire::Farewell;

/// Why a body cannot be taken to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// It has more bytes than a file may have.
    TooBig,
    /// It came too slowly.
    Slow { rate: u32, over: Duration },
    /// The connection ended in the middle of it.
    Cut { received: u64 },
}

impl From<BodyError> for Farewell {
    fn from(error: BodyError) -> Self {
        let (reason, text) = match error {
            BodyError::TooBig => return CloseReason::TooBig.into(),
            BodyError::Slow { rate, over } => (
                CloseReason::PeerGone,
                format!(
                    "the upload was too slow: it must keep to {rate} bytes per second and may fall behind by {} s; send the \
                     file again",
                    over.as_secs_f64()
                ),
            ),
            BodyError::Cut { received } => (
                CloseReason::BadMessage,
                format!("the upload was cut off after {received} bytes: send the file again"),
            ),
        };
        Self {
            reason,
            text: Some(text),
        }
    }
}

/// Hands `body` to `to` as fast as it comes, and closes `to` at its end.
pub(super) async fn feed(body: Body, to: ChildStdin, limits: &Limits) -> Result<(), BodyError> {
    let mut stream = body.into_data_stream();
    let mut pace = Pace::new(limits.min_upload_rate, limits.peer_timeout);
    let mut to = Some(to);
    let mut received = 0;
    while let Some(piece) = pace.next(&mut stream).await? {
        let piece: Bytes = piece.map_err(|_| BodyError::Cut { received })?;
        received += piece.len() as u64;
        if received > limits.max_file_bytes {
            return Err(BodyError::TooBig);
        }
        // A decoder that ended early says itself how; what it left is still taken, so that the client reads the answer.
        if let Some(pipe) = &mut to
            && pipe.write_all(&piece).await.is_err()
        {
            to = None;
        }
    }
    Ok(())
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
        stream: &mut (impl futures_util::Stream<Item = Result<Bytes, E>> + Unpin),
    ) -> Result<Option<Result<Bytes, E>>, BodyError> {
        let began = Instant::now();
        let Ok(piece) = timeout(self.left, stream.next()).await else {
            return Err(BodyError::Slow {
                rate: self.rate,
                over: self.most,
            });
        };
        let bytes = piece.as_ref().and_then(|piece| piece.as_ref().ok()).map_or(0, Bytes::len);
        self.left = self.left.saturating_sub(began.elapsed());
        self.earned(bytes);
        Ok(piece)
    }

    fn earned(&mut self, bytes: usize) {
        let earned = Duration::from_secs_f64(bytes as f64 / f64::from(self.rate.max(1)));
        self.left = (self.left + earned).min(self.most);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::stream;

    use super::*;

    async fn wait(seconds: u64) {
        tokio::time::sleep(Duration::from_secs(seconds)).await;
    }

    fn slow(pieces: Vec<(u64, usize)>) -> impl futures_util::Stream<Item = Result<Bytes, ()>> + Unpin {
        Box::pin(stream::iter(pieces).then(|(seconds, bytes)| async move {
            wait(seconds).await;
            Ok(Bytes::from(vec![0; bytes]))
        }))
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_may_pause_and_may_not_drip() {
        let mut pace = Pace::new(100, Duration::from_secs(20));
        let mut steady = slow(vec![(19, 2_000), (19, 1_000), (10, 1_000)]);
        for _ in 0..3 {
            assert!(pace.next(&mut steady).await.is_ok_and(|piece| piece.is_some()));
        }
        assert!(pace.next(&mut steady).await.is_ok_and(|piece| piece.is_none()));
        let mut pace = Pace::new(100, Duration::from_secs(20));
        let mut drip = slow(vec![(15, 1); 3]);
        assert!(pace.next(&mut drip).await.is_ok());
        let over = Duration::from_secs(20);
        assert_eq!(pace.next(&mut drip).await, Err(BodyError::Slow { rate: 100, over }));
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_takes_its_time_for_is_not_the_clients_fault() {
        let mut pace = Pace::new(100, Duration::from_secs(20));
        let mut ready = slow(vec![(0, 1); 10]);
        for _ in 0..10 {
            assert!(pace.next(&mut ready).await.is_ok());
            wait(60).await;
        }
    }
}
