//! `POST` on a module's path: a whole audio file in, its words out.
//!
//! The file is a session like any other: it waits for a row in the same queue and is slowed down by the same credits, so it
//! goes as fast as the model and never keeps live streams waiting for more than a step. Its body is decoded as it comes in.

use std::io::{self, Read};
use std::sync::Arc;
use std::thread;

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
use crate::pipeline::frame::SAMPLE_RATE;
use crate::pipeline::links;
use crate::protocol::Form;
use crate::protocol::client::{ClientMsg, Sound};
use crate::protocol::close::CloseReason;
use crate::protocol::server::ServerMsg;
use crate::session::state::{Connecting, Session};
use crate::session::task;
use crate::session::wire::{self, Farewell, Inbound, LastSeen, Reading, Writing};
use crate::telemetry::labels::Refused;
use crate::telemetry::logs;

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
    let principal = check(shared, &parts).await.map_err(IntoResponse::into_response)?;
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
    let span = logs::session_span(connecting.id(), &module.name, principal.method.label());
    let session = admit(shared, module, connecting, principal).map_err(IntoResponse::into_response)?;

    let form = Form {
        extras: true,
        ..Form::default()
    };
    let (wire, outbox, reading, writing) = wire::wire(form, &limits);
    let Reading {
        inbox,
        seen,
        gone,
        aside: _,
    } = reading;
    let (pieces, body_reader) = BodyReader::new();
    let decoding = Decoding {
        inbox,
        seen,
        limits: Arc::clone(&limits),
        permit,
    };
    thread::Builder::new()
        .name("file".to_owned())
        .spawn(move || decoding.run(body_reader))
        .map_err(|_| Refusal::busy("no thread to decode the file with").into_response())?;
    tokio::spawn(task::run(session, wire, outbox, shared.context.clone()).instrument(span));
    let (messages, farewell) = tokio::select! {
        heard = collect(writing) => heard,
        never = pump(body, pieces, limits.max_file_bytes) => match never {},
    };
    drop(gone);
    match farewell.reason {
        CloseReason::Done => Ok(answer.render(messages)),
        CloseReason::TooBig if farewell.text.is_none() => Err(too_big(&limits).into_response()),
        reason => Err(Refusal::new(status_of(reason), farewell.text()).into_response()),
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

fn status_of(reason: CloseReason) -> StatusCode {
    match reason {
        CloseReason::BadAudio => StatusCode::UNPROCESSABLE_ENTITY,
        CloseReason::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
        CloseReason::PeerGone | CloseReason::Idle => StatusCode::REQUEST_TIMEOUT,
        CloseReason::Unauthorized => StatusCode::UNAUTHORIZED,
        CloseReason::EngineFailed => StatusCode::INTERNAL_SERVER_ERROR,
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
async fn collect(from: Writing) -> (Vec<ServerMsg>, Farewell) {
    let Writing {
        mut outbox,
        aside,
        over,
        mut close,
    } = from;
    // A file's client is told nothing besides words.
    drop(aside);
    let mut messages = Vec::new();
    let reason = loop {
        tokio::select! {
            farewell = &mut close => return (messages, farewell.unwrap_or_else(|_| failed())),
            message = outbox.recv() => match message {
                Ok(message @ (ServerMsg::Word { .. } | ServerMsg::EndWord { .. })) => messages.push(message),
                Ok(_) => {}
                Err(reason) => break reason,
            }
        }
    };
    // The session decides what it means.
    let _ = over.send(reason);
    (messages, close.await.unwrap_or_else(|_| failed()))
}

fn failed() -> Farewell {
    CloseReason::EngineFailed.into()
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
}

impl BodyReader {
    fn new() -> (mpsc::Sender<io::Result<Bytes>>, Self) {
        let (tx, pieces) = links::inbox(BODY_PIECES);
        (
            tx,
            Self {
                pieces,
                current: Bytes::new(),
            },
        )
    }
}

impl Read for BodyReader {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.current = piece?,
                None => return Ok(0),
            }
        }
        let n = self.current.len().min(to.len());
        self.current.copy_to_slice(&mut to[..n]);
        Ok(n)
    }
}

/// The thread that decodes a file: the client's side of its session.
struct Decoding {
    inbox: mpsc::Sender<Inbound>,
    seen: Arc<LastSeen>,
    limits: Arc<Limits>,
    permit: OwnedSemaphorePermit,
}

impl Decoding {
    fn run(self, body: BodyReader) {
        let last = match self.decode(body) {
            Ok(true) => Inbound::Message(ClientMsg::EndOfStream),
            // The session has ended; there is nobody to tell.
            Ok(false) => return,
            Err(FileError::Read(error)) if error.kind() == io::ErrorKind::FileTooLarge => {
                Inbound::Ended(CloseReason::TooBig.into())
            }
            Err(FileError::Read(_)) => Inbound::Ended(CloseReason::PeerGone.into()),
            Err(error) => Inbound::Ended(Farewell {
                reason: CloseReason::BadAudio,
                text: Some(error.to_string()),
            }),
        };
        let _ = self.inbox.blocking_send(last);
        drop(self.permit);
    }

    /// False when the session ended first.
    fn decode(&self, body: BodyReader) -> Result<bool, FileError> {
        let most = self
            .limits
            .max_file
            .as_secs()
            .saturating_mul(u64::from(SAMPLE_RATE));
        let mut decoder = FileDecoder::open(body)?;
        let (mut total, mut more) = (0, true);
        let mut data = BytesMut::new();
        while more {
            more = decoder.next(&mut |samples| {
                total += samples.len() as u64;
                samples.iter().for_each(|sample| data.put_f32_le(*sample));
            })?;
            self.seen.touch();
            if total > most {
                return Err(FileError::Read(io::ErrorKind::FileTooLarge.into()));
            }
            let message = Inbound::Message(ClientMsg::Audio(Sound::F32(data.split().freeze())));
            if self.inbox.blocking_send(message).is_err() {
                return Ok(false);
            }
        }
        Ok(true)
    }
}
