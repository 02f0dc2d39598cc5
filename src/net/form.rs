//! Uploads as web forms send them (RFC 7578): `curl -F file=@talk.m4a`, and `<input type="file">`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures_util::Stream;
use tokio::io::AsyncWrite;

use super::sink::{BodyError, Sink};

/// Bytes of a form in front of its file: other fields, which are ignored.
const MAX_BEFORE: usize = 1 << 20;

/// The boundary between the parts, when the body is a form.
///
/// # Errors
/// It says that it is a form, and not what is between the parts.
pub(super) fn boundary(headers: &HeaderMap) -> Result<Option<String>, BodyError> {
    // Whatever else a client calls its file, the file itself says what it is.
    let Some(kind) = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()) else {
        return Ok(None);
    };
    match multer::parse_boundary(kind) {
        Ok(boundary) => Ok(Some(boundary)),
        Err(multer::Error::NoBoundary) => Err(BodyError::Form("its Content-Type names no boundary")),
        Err(_) => Ok(None),
    }
}

/// Hands the file in the form `body` to `to`: the first part that is named `file` or has a file name. What follows it is left in
/// `body`.
pub(super) async fn feed(
    body: &mut (impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin),
    boundary: String,
    to: &mut Sink<impl AsyncWrite + Unpin>,
) -> Result<(), BodyError> {
    let found = Arc::new(AtomicBool::new(false));
    let pieces = OneByOne {
        body,
        before: 0,
        found: Arc::clone(&found),
        rests: false,
    };
    let mut form = multer::Multipart::new(pieces, boundary);
    while let Some(mut part) = form.next_field().await.map_err(failed)? {
        if part.name() == Some("file") || part.file_name().is_some() {
            found.store(true, Relaxed);
            while let Some(piece) = part.chunk().await.map_err(failed)? {
                to.write(&piece).await;
            }
            return Ok(());
        }
    }
    Err(BodyError::NoFile)
}

fn failed(error: multer::Error) -> BodyError {
    match error {
        multer::Error::StreamReadFailed(cause) => match cause.downcast::<BodyError>() {
            Ok(error) => *error,
            Err(_) => BodyError::Form("it cannot be read"),
        },
        _ => BodyError::Form("it ends too early, or its parts are not as its Content-Type says"),
    }
}

/// The pieces of a body, with a rest after each: `multer` takes all that is ready before it looks at any of it, which would be a
/// whole file in memory.
struct OneByOne<'a, S> {
    body: &'a mut S,
    before: usize,
    found: Arc<AtomicBool>,
    rests: bool,
}

impl<S: Stream<Item = Result<Bytes, BodyError>> + Unpin> Stream for OneByOne<'_, S> {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = self.get_mut();
        if std::mem::take(&mut this.rests) {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let piece = std::task::ready!(Pin::new(&mut *this.body).poll_next(cx));
        if let Some(Ok(bytes)) = &piece
            && !this.found.load(Relaxed)
        {
            this.before += bytes.len();
            // A part's head is kept until it is whole, and a head has no end of its own.
            if this.before > MAX_BEFORE {
                return Poll::Ready(Some(Err(BodyError::NoFile)));
            }
        }
        this.rests = true;
        Poll::Ready(piece)
    }
}
