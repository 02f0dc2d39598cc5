//! `POST` on the path of a module that speaks: text in, its speech out, as a WAV file that is sent while it is made.
//!
//! The text is a session like any other: it waits for a row in the same queue, and its row waits where the client does not read.

use std::io;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http_body_util::BodyExt as _;
use serde::Deserialize;
use tokio::time::{interval, timeout};
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::answers::status_of;
use super::credentials::{check, peer};
use super::refusal::Refusal;
use super::upgrade::{authenticate, enqueue, speaker};
use super::{Module, Shared};
use crate::audio::encode::PcmStream;
use crate::audio::wav_writer;
use crate::config::Limits;
use crate::protocol::close;
use crate::session::connection::{self, Inbound, LastSeen, ReadHalf, WriteHalf};
use crate::session::state::{Connecting, Session};
use crate::session::task;
use crate::stream::end::{End, EndReason};
use crate::stream::frame::SAMPLE_RATE;
use crate::stream::input::{Control, Input, PcmRate};
use crate::stream::output::Output;
use crate::stream::voice::{Sampling, SpeakerRequest};
use crate::telemetry::logs;

/// What is to be said.
#[derive(Deserialize)]
struct Asked {
    text: String,
    voice: Option<String>,
}

/// `POST` on the path of a module that speaks.
pub(super) async fn speak(
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
    let limits = Arc::clone(shared.limits());
    let asked = read(body, &limits).await.map_err(IntoResponse::into_response)?;
    let request = SpeakerRequest {
        voice: asked.voice.filter(|voice| !voice.is_empty()),
        sampling: Sampling::default(),
    };
    let speaker = speaker(module, &request)
        .await
        .map_err(IntoResponse::into_response)?;
    let span = logs::session_span(connecting.id(), &module.name, principal.method.label());
    let session = authenticate(shared, connecting, principal).map_err(IntoResponse::into_response)?;
    let session = enqueue(shared, module, session, true).map_err(IntoResponse::into_response)?;

    let seen = Arc::new(LastSeen::default());
    let (connection, outbox, reading, writing) = connection::connect(&limits, Arc::clone(&seen), speaker);
    tokio::spawn(task::run(session, connection, outbox, shared.context.clone()).instrument(span));
    let mut speech = Speech::new(reading, writing, asked.text, seen, &limits);
    // What goes wrong before the first sound has a status of its own.
    match speech.next().await {
        Ok(None) => Err(Refusal::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "there is nothing to say in the text",
        )
        .into_response()),
        Err(end) => Err(refused(&end)),
        Ok(Some(first)) => {
            let mut start = wav_writer::header(SAMPLE_RATE).to_vec();
            start.extend(first);
            let parts =
                futures_util::stream::try_unfold((Some(start), speech), |(start, mut speech)| async {
                    let part = match start {
                        Some(start) => Some(start),
                        // A body that is cut off is the one thing that tells a client of the failure now.
                        None => speech
                            .next()
                            .await
                            .map_err(|end| io::Error::other(close::text(&end).to_owned()))?,
                    };
                    Ok::<_, io::Error>(part.map(|part| (Bytes::from(part), (None, speech))))
                });
            Ok(([(header::CONTENT_TYPE, "audio/wav")], Body::from_stream(parts)).into_response())
        }
    }
}

async fn read(body: Body, limits: &Limits) -> Result<Asked, Refusal> {
    let most = limits.max_message_bytes;
    let body = match timeout(limits.peer_timeout, collect(body, most)).await {
        Ok(Ok(body)) if body.len() <= most => body,
        Ok(Ok(_)) => {
            let message = format!("the text is too long: at most {most} bytes are taken");
            return Err(Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message));
        }
        Ok(Err(_)) => {
            let message = "the text was cut off: send it again";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, message));
        }
        Err(_) => {
            let message = "the text came too slowly: send it again";
            return Err(Refusal::new(StatusCode::REQUEST_TIMEOUT, message));
        }
    };
    serde_json::from_slice(&body).map_err(|_| {
        let message = "the body must be JSON like {\"text\": \"Hello!\", \"voice\": \"name of a voice\"}";
        Refusal::new(StatusCode::BAD_REQUEST, message)
    })
}

// Takes all of a body and keeps the first `most` bytes and one: a client that is still sending may never read why not.
async fn collect(mut body: Body, most: usize) -> Result<Vec<u8>, axum::Error> {
    let mut all = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            let room = (most + 1).saturating_sub(all.len());
            all.extend_from_slice(&data[..data.len().min(room)]);
        }
    }
    Ok(all)
}

fn refused(end: &End) -> Response {
    match status_of(end.reason) {
        StatusCode::SERVICE_UNAVAILABLE => Refusal::busy(close::text(end)),
        status => Refusal::new(status, close::text(end)),
    }
    .into_response()
}

/// The speech of one text, as it is made. Dropping it ends the session.
struct Speech {
    /// None once the outbox is over.
    writing: Option<WriteHalf>,
    pcm: PcmStream,
    /// Hands the text to the session, and keeps its connection alive.
    _client: AbortOnDropHandle<()>,
}

impl Speech {
    fn new(
        reading: ReadHalf,
        writing: WriteHalf,
        text: String,
        seen: Arc<LastSeen>,
        limits: &Limits,
    ) -> Self {
        let quarter = limits.peer_timeout / 4;
        let client = tokio::spawn(async move {
            for input in [Input::Text(text), Input::Control(Control::End)] {
                // A session that has ended says so by itself.
                let _ = reading.inbox.send(Inbound::Input(input)).await;
            }
            // Whether the client is there, its connection knows.
            let mut alive = interval(quarter);
            loop {
                alive.tick().await;
                seen.touch();
            }
        });
        Self {
            writing: Some(writing),
            pcm: PcmStream::new(PcmRate::default()),
            _client: AbortOnDropHandle::new(client),
        }
    }

    /// Returns the bytes of the next frame; none at the end.
    async fn next(&mut self) -> Result<Option<Vec<u8>>, End> {
        loop {
            let Some(writing) = &mut self.writing else {
                return Ok(None);
            };
            let failed = || End::from(EndReason::EngineFailed);
            tokio::select! {
                end = &mut writing.close => return Err(end.unwrap_or_else(|_| failed())),
                output = writing.outbox.recv() => match output {
                    Ok(Output::Sound(sound)) => {
                        let mut bytes = Vec::new();
                        self.pcm.push(sound.samples(), &mut bytes);
                        return Ok(Some(bytes));
                    }
                    Ok(_) => {}
                    Err(over) => {
                        let Some(WriteHalf { over: tell, close, .. }) = self.writing.take() else {
                            return Ok(None);
                        };
                        // The session decides what it means.
                        let _ = tell.send(over);
                        let end = close.await.unwrap_or_else(|_| failed());
                        return if end.reason == EndReason::Done { Ok(None) } else { Err(end) };
                    }
                },
            }
        }
    }
}
