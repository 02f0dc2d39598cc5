//! `POST` on a module's path: a whole audio file in, its words out.
//!
//! The file is a session like any other: it waits for a row in the same queue and is slowed down by the same credits, so it
//! goes as fast as the model and never keeps live streams waiting for more than a step. It is decoded as it comes in, by a
//! process of its own; what comes before its audio (tags, pictures, all of an mp4 file) keeps no row from others.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::{Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::answers::{Answer, collect, end_of, refused, too_big};
use super::body::feed;
use super::credentials::{check, peer};
use super::form::boundary;
use super::refusal::Refusal;
use super::sink::BodyError;
use super::slots::NoSlot;
use super::upgrade::{authenticate, enqueue};
use super::{Module, Shared};
use crate::config::Limits;
use crate::decoder::{ChildOptions, Decoder};
use crate::session::connection::{self, Inbound, LastSeen, ReadHalf};
use crate::session::state::{Authenticated, Connecting, Session};
use crate::session::task;
use crate::stream::end::{End, EndReason};
use crate::stream::frame::SAMPLE_RATE;
use crate::stream::input::{AudioBytes, Control, Encoding, Input};
use crate::telemetry::{labels, logs};

/// Bytes of a decoded sample.
const SAMPLE: usize = size_of::<f32>();

/// Bytes of decoded audio handed to the session at once: half a second.
const MESSAGE: usize = SAMPLE * SAMPLE_RATE as usize / 2;

/// How long the rest of a file is taken that was refused.
const PATIENCE: Duration = Duration::from_secs(3);

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
    let boundary = boundary(&parts.headers).map_err(|error| refused(&error.into(), &limits))?;
    let span = logs::session_span(connecting.id(), &module.name, principal.method.label());
    // What the user may have is claimed before anything is taken that all users share.
    let session = authenticate(shared, connecting, principal).map_err(IntoResponse::into_response)?;
    let (session, decoder) = start(shared, session).map_err(IntoResponse::into_response)?;
    let mut upload = Upload::new(body, boundary, decoder, &limits).map_err(IntoResponse::into_response)?;
    let opened = timeout(limits.file_open, upload.next()).await;
    let first = match opened.unwrap_or_else(|_| Err(late(&limits))) {
        Ok(first) => first,
        Err(end) => {
            drop(session.close(end.reason));
            upload.discard().await;
            return Err(refused(&end, &limits));
        }
    };
    let session = enqueue(shared, module, session, true).map_err(IntoResponse::into_response)?;

    let seen = Arc::new(LastSeen::default());
    let (connection, outbox, reading, writing) = connection::connect(&limits, Arc::clone(&seen), None);
    tokio::spawn(task::run(session, connection, outbox, shared.context.clone()).instrument(span));
    let ReadHalf { inbox, gone, .. } = reading;
    let (messages, end) = tokio::select! {
        collected = collect(writing) => collected,
        never = upload.forward(first, &inbox) => match never {},
        never = alive(&seen, &limits) => match never {},
    };
    drop(gone);
    match end.reason {
        EndReason::Done => Ok(answer.render(messages)),
        _ => {
            upload.discard().await;
            Err(refused(&end, &limits))
        }
    }
}

/// Takes a slot for the session's file and starts its decoder.
fn start(
    shared: &Shared,
    session: Session<Authenticated>,
) -> Result<(Session<Authenticated>, Decoder), Refusal> {
    let (limits, meters) = (shared.limits(), &shared.context.meters);
    let slot = match shared.files.take(session.principal()) {
        Ok(slot) => slot,
        Err(no_slot) => {
            let (label, refusal) = match &no_slot {
                NoSlot::Full => (labels::Refused::Full, Refusal::busy(no_slot.to_string())),
                NoSlot::Share(_) => (labels::Refused::UserLimit, Refusal::share(no_slot.to_string())),
            };
            meters.admission.refused.of(label).increment(1);
            drop(session.close(EndReason::Full));
            return Err(refusal);
        }
    };
    let options = ChildOptions {
        memory: limits.max_file_memory_bytes,
        file: limits.max_file_bytes,
        cpu: limits.max_file_cpu,
    };
    match Decoder::start(&shared.decoder, options, slot, &meters.files) {
        Ok(decoder) => Ok((session, decoder)),
        Err(error) => {
            tracing::error!(%error, "cannot start a process to decode a posted file");
            drop(session.close(EndReason::EngineFailed));
            Err(Refusal::busy("no process to decode the file with"))
        }
    }
}

fn late(limits: &Limits) -> End {
    let message = format!(
        "no audio was found in the file within {} s: send it faster, or as wav, which is transcribed while it comes",
        limits.file_open.as_secs_f64()
    );
    End::because(EndReason::PeerGone, message)
}

enum Never {}

/// Tells the session that its client is there: whether it is, the connection knows.
async fn alive(seen: &LastSeen, limits: &Limits) -> Never {
    loop {
        seen.touch();
        sleep(limits.peer_timeout / 4).await;
    }
}

/// A file on its way: from its body through its decoder. All of it ends when this is dropped.
struct Upload {
    feed: AbortOnDropHandle<Result<(), BodyError>>,
    /// All of the body was taken.
    fed: bool,
    decoder: Decoder,
    limits: Arc<Limits>,
    /// Audio that was decoded and not handed on.
    bytes: BytesMut,
    /// Bytes of audio so far.
    total: u64,
}

impl Upload {
    /// `boundary` is what is between the parts of a body that is a form.
    fn new(
        body: Body,
        boundary: Option<String>,
        mut decoder: Decoder,
        limits: &Arc<Limits>,
    ) -> Result<Self, Refusal> {
        let to = decoder
            .file
            .take()
            .ok_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal failure"))?;
        let limits = Arc::clone(limits);
        let feeding = Arc::clone(&limits);
        let feed = tokio::spawn(async move { feed(body, boundary, to, &feeding).await });
        Ok(Self {
            feed: AbortOnDropHandle::new(feed),
            fed: false,
            decoder,
            limits,
            bytes: BytesMut::new(),
            total: 0,
        })
    }

    /// The next audio, whole samples; none at the end of the file. Safe to cancel.
    async fn next(&mut self) -> Result<Option<Bytes>, End> {
        let most = self
            .limits
            .max_file
            .as_secs()
            .saturating_mul(u64::from(SAMPLE_RATE) * SAMPLE as u64);
        loop {
            self.bytes.reserve(MESSAGE);
            let mut room = (&mut self.decoder.audio).take((MESSAGE - self.bytes.len()) as u64);
            let read = tokio::select! {
                biased;
                fed = &mut self.feed, if !self.fed => {
                    self.fed = true;
                    fed.map_err(|_| EndReason::EngineFailed)??;
                    continue;
                }
                read = room.read_buf(&mut self.bytes) => read.map_err(|_| EndReason::EngineFailed)?,
            };
            self.total += read as u64;
            if self.total > most {
                return Err(EndReason::TooBig.into());
            }
            if read == 0 {
                return self.end().await;
            }
            let whole = self.bytes.len() / SAMPLE * SAMPLE;
            if whole > 0 {
                return Ok(Some(self.bytes.split_to(whole).freeze()));
            }
        }
    }

    async fn end(&mut self) -> Result<Option<Bytes>, End> {
        let ended = self.decoder.ended().await;
        match end_of(ended, &self.limits) {
            None => Ok(None),
            Some(end) => Err(end),
        }
    }

    /// Ends the decoder and lets the client finish, if it does so soon: one that is still sending when the connection closes may
    /// never read why.
    async fn discard(self) {
        let Self {
            feed, fed, decoder, ..
        } = self;
        drop(decoder);
        if !fed {
            let _ = timeout(PATIENCE, feed).await;
        }
    }

    /// Hands the audio to the session, and what came of it at the end.
    async fn forward(&mut self, first: Option<Bytes>, inbox: &mpsc::Sender<Inbound>) -> Never {
        let mut next = Ok(first);
        loop {
            let (message, last) = match next {
                Ok(Some(data)) => {
                    let encoding = Encoding::F32;
                    (Inbound::Input(Input::Audio(AudioBytes { encoding, data })), false)
                }
                Ok(None) => (Inbound::Input(Input::Control(Control::End)), true),
                Err(end) => (Inbound::Ended(end), true),
            };
            // A session that has ended says so by itself.
            if inbox.send(message).await.is_err() || last {
                return std::future::pending().await;
            }
            next = self.next().await;
        }
    }
}
