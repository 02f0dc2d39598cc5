//! `POST` on a module's path: a whole audio file in, its words out.
//!
//! The file is a session like any other: it waits for a row in the same queue and is slowed down by the same credits, so it
//! goes as fast as the model and never keeps live streams waiting for more than a step. Its body is decoded as it comes in;
//! what comes before its audio (tags, pictures, all of an mp4 file) keeps no row from others.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use futures_util::StreamExt;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::Instrument;

use super::credentials::{check, peer};
use super::refusal::Refusal;
use super::upgrade::admit;
use super::{Module, Shared};
use crate::audio::file::{FileDecoder, FileError};
use crate::captions::{Format, Transcript};
use crate::config::Limits;
use crate::pipeline::links;
use crate::protocol::close;
use crate::protocol::kyutai::server::ServerMsg;
use crate::session::connection::{self, Inbound, LastSeen, ReadHalf, WriteHalf};
use crate::session::state::{Connecting, Session};
use crate::session::task;
use crate::stream::end::{End, EndReason};
use crate::stream::frame::SAMPLE_RATE;
use crate::stream::input::{AudioBytes, Control, Encoding, Input};
use crate::stream::output::Output;
use crate::telemetry::labels::Refused;
use crate::telemetry::logs;

/// Bytes of decoded audio handed to the session at once: half a second.
const MESSAGE: usize = 2 * SAMPLE_RATE as usize;

/// Pieces of a body that were received and not decoded.
const BODY_PIECES: usize = 4;

/// `POST` on a module's path.
pub(super) async fn transcribe(
    State(shared): State<Arc<Shared>>,
    module: Arc<Module>,
    request: Request,
) -> Response {
    serve(&shared, &module, request)
        .await
        .unwrap_or_else(|refusal| refusal)
}

async fn serve(shared: &Arc<Shared>, module: &Module, request: Request) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let connecting = Session::<Connecting>::open(shared.registry.open(peer(&parts)));
    let principal = check(shared, &parts, module.scope)
        .await
        .map_err(IntoResponse::into_response)?;
    let answer =
        Answer::from_query(parts.uri.query().unwrap_or_default()).map_err(IntoResponse::into_response)?;
    let length = parts.headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    let limits = Arc::clone(shared.limits());
    if length.is_some_and(|length| length > limits.max_file_bytes) {
        return Err(too_big(&limits).into_response());
    }
    let permit = Arc::clone(&shared.files).try_acquire_owned();
    let permit = permit.map_err(|_| {
        shared
            .context
            .meters
            .admission
            .refused
            .of(Refused::Full)
            .increment(1);
        Refusal::busy("too many files are being transcribed").into_response()
    })?;
    let seen = Arc::new(LastSeen::default());
    let (pieces, body_reader) = BodyReader::new(Arc::clone(&seen));
    let pump = pump(body, pieces, limits.max_file_bytes);
    tokio::pin!(pump);
    let opened = tokio::task::spawn_blocking(move || FileDecoder::open(body_reader));
    let opened = tokio::select! {
        opened = opened => opened.map_err(|_| End::from(EndReason::EngineFailed)),
        () = silent(&seen, limits.peer_timeout) => Err(EndReason::PeerGone.into()),
        never = &mut pump => match never {},
    };
    let decoder = opened
        .and_then(|opened| opened.map_err(end_of))
        .map_err(|end| refused(&end, &limits))?;
    let span = logs::session_span(connecting.id(), &module.name, principal.method.label());
    let session = admit(shared, module, connecting, principal, true).map_err(IntoResponse::into_response)?;

    let (connection, outbox, reading, writing) = connection::connect(&limits, seen);
    let ReadHalf {
        inbox,
        seen: _,
        gone,
        side: _,
    } = reading;
    let decoding = Decoding {
        inbox,
        limits: Arc::clone(&limits),
        permit,
    };
    thread::Builder::new()
        .name("file".to_owned())
        .spawn(move || decoding.run(decoder))
        .map_err(|_| Refusal::busy("no thread to decode the file with").into_response())?;
    tokio::spawn(task::run(session, connection, outbox, shared.context.clone()).instrument(span));
    let (messages, end) = tokio::select! {
        heard = collect(writing) => heard,
        never = &mut pump => match never {},
    };
    drop(gone);
    match end.reason {
        EndReason::Done => Ok(answer.render(messages)),
        _ => Err(refused(&end, &limits)),
    }
}

/// The answer to a file that could not be transcribed to its end.
fn refused(end: &End, limits: &Limits) -> Response {
    let refusal = match (end.reason, &end.message) {
        (EndReason::TooBig, None) => too_big(limits),
        (EndReason::PeerGone, None) => {
            let message = "nothing more of the file came: send it again";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
        }
        (reason, _) => match status_of(reason) {
            StatusCode::SERVICE_UNAVAILABLE => Refusal::busy(close::text(end)),
            status => Refusal::new(status, close::text(end)),
        },
    };
    refusal.into_response()
}

/// Ends when no byte has come for `patience`.
async fn silent(seen: &LastSeen, patience: Duration) {
    loop {
        let until = seen.at() + patience;
        if until <= Instant::now() {
            return;
        }
        tokio::time::sleep_until(until.into()).await;
    }
}

fn too_big(limits: &Limits) -> Refusal {
    let message = format!(
        "the file is too big: at most {} bytes and {} s of audio are taken",
        limits.max_file_bytes,
        limits.max_file.as_secs()
    );
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

fn status_of(reason: EndReason) -> StatusCode {
    match reason {
        EndReason::BadAudio => StatusCode::UNPROCESSABLE_ENTITY,
        EndReason::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
        EndReason::PeerGone | EndReason::Idle => StatusCode::REQUEST_TIMEOUT,
        EndReason::Unauthorized => StatusCode::UNAUTHORIZED,
        EndReason::EngineFailed => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// Form of the answer.
#[derive(Clone, Copy)]
enum Answer {
    /// Kyutai's: an array of `Word` and `EndWord`.
    Messages,
    Captions(Format),
}

impl Answer {
    fn from_query(query: &str) -> Result<Self, Refusal> {
        let format = query.split('&').find_map(|pair| pair.strip_prefix("format="));
        match format {
            None | Some("json") => Ok(Self::Messages),
            Some("text") => Ok(Self::Captions(Format::Txt)),
            Some("srt") => Ok(Self::Captions(Format::Srt)),
            Some("vtt") => Ok(Self::Captions(Format::Vtt)),
            Some(_) => {
                let message = "unknown format: use json, text, srt or vtt";
                Err(Refusal::new(StatusCode::BAD_REQUEST, message))
            }
        }
    }

    fn render(self, messages: Vec<ServerMsg>) -> Response {
        let Self::Captions(format) = self else {
            return Json(messages).into_response();
        };
        let kind = match format {
            Format::Srt => "application/x-subrip",
            Format::Vtt => "text/vtt; charset=utf-8",
            Format::Txt | Format::Json => "text/plain; charset=utf-8",
        };
        let mut transcript = Transcript::default();
        for message in &messages {
            transcript.hear(message);
        }
        ([(header::CONTENT_TYPE, kind)], transcript.render(format)).into_response()
    }
}

// Takes the session's output, as a writer does, and returns its words and its end.
async fn collect(from: WriteHalf) -> (Vec<ServerMsg>, End) {
    let WriteHalf {
        mut outbox,
        side,
        over,
        mut close,
    } = from;
    // A file's client is told nothing besides words.
    drop(side);
    let mut messages = Vec::new();
    let reason = loop {
        tokio::select! {
            end = &mut close => return (messages, end.unwrap_or_else(|_| failed())),
            message = outbox.recv() => match message {
                Ok(output @ (Output::Word { .. } | Output::WordEnd { .. })) => messages.push(output.into()),
                Ok(_) => {}
                Err(reason) => break reason,
            }
        }
    };
    // The session decides what it means.
    let _ = over.send(reason);
    (messages, close.await.unwrap_or_else(|_| failed()))
}

fn failed() -> End {
    EndReason::EngineFailed.into()
}

enum Never {}

// Hands the body to the decoding thread as fast as that takes it.
async fn pump(body: Body, to: mpsc::Sender<io::Result<Bytes>>, most: u64) -> Never {
    let mut stream = body.into_data_stream();
    let mut total = 0;
    while let Some(piece) = stream.next().await {
        let piece = match piece {
            Ok(piece) => {
                total += piece.len() as u64;
                if total > most {
                    Err(io::ErrorKind::FileTooLarge.into())
                } else {
                    Ok(piece)
                }
            }
            Err(error) => Err(io::Error::other(error)),
        };
        let last = piece.is_err();
        if to.send(piece).await.is_err() || last {
            break;
        }
    }
    drop(to);
    std::future::pending().await
}

/// The body as a blocking reader.
struct BodyReader {
    pieces: mpsc::Receiver<io::Result<Bytes>>,
    current: Bytes,
    seen: Arc<LastSeen>,
}

impl BodyReader {
    fn new(seen: Arc<LastSeen>) -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (tx, pieces) = links::inbox(BODY_PIECES);
        (
            tx,
            Self {
                pieces,
                current: Bytes::new(),
                seen,
            },
        )
    }
}

impl Read for BodyReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => {
                    self.seen.touch();
                    self.current = piece?;
                }
                None => return Ok(0),
            }
        }
        let n = self.current.len().min(to.len());
        self.current.copy_to_slice(&mut to[..n]);
        Ok(n)
    }
}

fn end_of(error: FileError) -> End {
    match error {
        FileError::Read(error) if error.kind() == io::ErrorKind::FileTooLarge => EndReason::TooBig.into(),
        FileError::Read(_) => EndReason::PeerGone.into(),
        error => End::because(EndReason::BadAudio, error.to_string()),
    }
}

/// The thread that decodes a file: the client's side of its session.
struct Decoding {
    inbox: mpsc::Sender<Inbound>,
    limits: Arc<Limits>,
    permit: OwnedSemaphorePermit,
}

impl Decoding {
    fn run(self, decoder: FileDecoder) {
        let last = match self.decode(decoder) {
            Ok(true) => Inbound::Input(Input::Control(Control::End)),
            // The session has ended; there is nobody to tell.
            Ok(false) => return,
            Err(error) => Inbound::Ended(end_of(error)),
        };
        let _ = self.inbox.blocking_send(last);
        drop(self.permit);
    }

    /// False when the session ended first.
    fn decode(&self, mut decoder: FileDecoder) -> Result<bool, FileError> {
        let most = self
            .limits
            .max_file
            .as_secs()
            .saturating_mul(u64::from(SAMPLE_RATE));
        let (mut total, mut more) = (0, true);
        let mut data = BytesMut::new();
        while more {
            more = decoder.next(&mut |samples| {
                total += samples.len() as u64;
                samples.iter().for_each(|sample| data.put_f32_le(*sample));
            })?;
            if total > most {
                return Err(FileError::Read(io::ErrorKind::FileTooLarge.into()));
            }
            while !data.is_empty() {
                let piece = data.split_to(data.len().min(MESSAGE)).freeze();
                let audio = Input::Audio(AudioBytes {
                    encoding: Encoding::F32,
                    data: piece,
                });
                if self.inbox.blocking_send(Inbound::Input(audio)).is_err() {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }
}
