//! Uploads as web forms send them (RFC 7578): `curl -F file=@talk.m4a`, and `<input type="file">`.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::{Context, Poll};

use axum::http::HeaderMap;
use axum::http::header::CONTENT_TYPE;
use bytes::Bytes;
use futures_util::Stream;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;

use super::sink::{BodyError, Sink};

/// Bytes of a form besides its files.
const MAX_FIELDS: usize = 1 << 20;

/// The fields of a form besides its files, as far as they have come.
#[derive(Debug, Default)]
pub(super) struct Fields {
    values: Vec<(String, String)>,
    /// Why what stands behind the file cannot be read.
    pub(super) broken: Option<BodyError>,
}

impl Fields {
    /// The first value of `name`.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        let mut values = self.values.iter();
        values.find(|(key, _)| key == name).map(|(_, value)| &**value)
    }
}

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

/// Hands the file in the form `body` to `to`: the first part that is named `file` or has a file name. Other parts are put into
/// `fields` as they come; further files are passed over.
///
/// # Errors
/// The form cannot be read up to the end of its file, or has none. What is wrong behind the file is said in `fields`, for there are
/// clients to whom it does not matter.
pub(super) async fn feed(
    body: &mut (impl Stream<Item = Result<Bytes, BodyError>> + Send + Unpin),
    boundary: String,
    mut to: Sink<impl AsyncWrite + Unpin>,
    fields: &Mutex<Fields>,
) -> Result<(), BodyError> {
    let in_file = Arc::new(AtomicBool::new(false));
    let pieces = OneByOne {
        body,
        besides: 0,
        in_file: Arc::clone(&in_file),
        rests: false,
    };
    let mut form = multer::Multipart::new(pieces, boundary);
    loop {
        let mut part = form
            .next_field()
            .await
            .map_err(failed)?
            .ok_or(BodyError::NoFile)?;
        if is_file(&part) {
            in_file.store(true, Relaxed);
            while let Some(piece) = part.chunk().await.map_err(failed)? {
                to.write(&piece).await;
            }
            break;
        }
        keep(part, fields).await?;
    }
    // The decoder sees the end of the file.
    drop(to);
    let behind = async {
        loop {
            in_file.store(false, Relaxed);
            let Some(mut part) = form.next_field().await.map_err(failed)? else {
                return Ok(());
            };
            if is_file(&part) {
                in_file.store(true, Relaxed);
                while part.chunk().await.map_err(failed)?.is_some() {}
            } else {
                keep(part, fields).await?;
            }
        }
    };
    if let Err(error) = behind.await {
        fields.lock().broken = Some(match error {
            BodyError::NoFile => BodyError::Form("its fields hold more than 1 MiB"),
            error => error,
        });
    }
    Ok(())
}

fn is_file(part: &multer::Field<'_>) -> bool {
    part.name() == Some("file") || part.file_name().is_some()
}

async fn keep(part: multer::Field<'_>, fields: &Mutex<Fields>) -> Result<(), BodyError> {
    let name = part.name().unwrap_or_default().to_owned();
    let value = part.bytes().await.map_err(failed)?;
    let value = String::from_utf8_lossy(&value).into_owned();
    fields.lock().values.push((name, value));
    Ok(())
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
    besides: usize,
    in_file: Arc<AtomicBool>,
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
            && !this.in_file.load(Relaxed)
        {
            this.besides += bytes.len();
            // A field is kept, and so is a part's head until it is whole; neither has an end of its own.
            if this.besides > MAX_FIELDS {
                return Poll::Ready(Some(Err(BodyError::NoFile)));
            }
        }
        this.rests = true;
        Poll::Ready(piece)
    }
}
