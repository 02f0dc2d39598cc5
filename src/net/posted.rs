//! A posted file as a session: it waits for a row in the same queue as live streams and is slowed down by the same credits, so it goes
//! as fast as the model and never keeps live streams waiting for more than a step.

use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, interval};
use tracing::Instrument;

use super::answers::{refused, too_big};
use super::credentials::{check, peer};
use super::form::{Fields, boundary};
use super::outputs::Outputs;
use super::refusal::Refusal;
use super::slots::NoSlot;
use super::upgrade::{authenticate, enqueue};
use super::upload::Upload;
use super::{Module, Shared};
use crate::auth::{Principal, Scope};
use crate::config::Limits;
use crate::decoder::{ChildOptions, Decoder};
use crate::session::connection::{self, Inbound, LastSeen, ReadHalf};
use crate::session::state::{Authenticated, Connecting, Session};
use crate::session::task;
use crate::stream::end::{End, EndReason};
use crate::stream::output::Output;
use crate::telemetry::{labels, logs};

/// A client with good credentials and a file that is still to come.
pub(super) struct Posting {
    connecting: Session<Connecting>,
    principal: Principal,
    headers: HeaderMap,
    body: Body,
}

impl Posting {
    /// Lets the client of a request in that may do what `scope` says.
    ///
    /// # Errors
    /// The credentials are missing, wrong, or do not allow it.
    pub(super) async fn admit(
        shared: &Shared,
        scope: Scope,
        parts: &Parts,
        body: Body,
    ) -> Result<Self, Response> {
        let connecting = Session::<Connecting>::open(shared.registry.open(peer(parts)));
        let principal = check(shared, parts, scope)
            .await
            .map_err(IntoResponse::into_response)?;
        Ok(Self {
            connecting,
            principal,
            headers: parts.headers.clone(),
            body,
        })
    }

    /// Whether the body is a form.
    pub(super) fn is_form(&self) -> bool {
        !matches!(boundary(&self.headers), Ok(None))
    }

    /// Opens the file and begins to transcribe it, by the module that `pick` names for the fields in front of the file.
    ///
    /// # Errors
    /// The answer to a user who has as much as one may have, to what is no file, and of a full server.
    pub(super) async fn begin(
        self,
        shared: &Arc<Shared>,
        pick: impl FnOnce(&Fields) -> Result<Arc<Module>, Refusal>,
    ) -> Result<Posted, Response> {
        let Self {
            connecting,
            principal,
            headers,
            body,
        } = self;
        let limits = Arc::clone(shared.limits());
        let length = headers.get(header::CONTENT_LENGTH);
        let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
        if length.is_some_and(|length| length > limits.max_file_bytes) {
            return Err(too_big(&limits).into_response());
        }
        let boundary = boundary(&headers).map_err(|error| refused(&error.into(), &limits).into_response())?;
        let (id, method) = (connecting.id(), principal.method.label());
        // What the user may have is claimed before anything is taken that all users share.
        let session = authenticate(shared, connecting, principal).map_err(IntoResponse::into_response)?;
        let (session, decoder) = start(shared, session).map_err(IntoResponse::into_response)?;
        let mut upload =
            Upload::new(body, boundary, decoder, &limits).map_err(IntoResponse::into_response)?;
        if let Err(end) = upload.open().await {
            drop(session.close(end.reason));
            upload.discard().await;
            return Err(refused(&end, &limits).into_response());
        }
        let picked = pick(&upload.fields());
        let module = match picked {
            Ok(module) => module,
            Err(refusal) => {
                drop(session.close(EndReason::BadMessage));
                upload.discard().await;
                return Err(refusal.into_response());
            }
        };
        let session = enqueue(shared, &module, session, true).map_err(IntoResponse::into_response)?;
        let span = logs::session_span(id, &module.name, method);
        let seen = Arc::new(LastSeen::default());
        let (connection, outbox, reading, writing) = connection::connect(&limits, Arc::clone(&seen), None);
        tokio::spawn(task::run(session, connection, outbox, shared.context.clone()).instrument(span));
        let ReadHalf { inbox, gone, .. } = reading;
        Ok(Posted {
            outputs: Outputs::new(writing),
            upload,
            inbox,
            seen,
            alive: interval(limits.peer_timeout / 4),
            limits,
            _gone: gone,
        })
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

/// A file that is being transcribed. All of it ends when this is dropped.
pub(super) struct Posted {
    outputs: Outputs,
    pub(super) upload: Upload,
    inbox: mpsc::Sender<Inbound>,
    seen: Arc<LastSeen>,
    alive: Interval,
    limits: Arc<Limits>,
    /// Dropped with the rest.
    _gone: oneshot::Sender<()>,
}

impl Posted {
    /// Goes on with the file until the session says something. Safe to cancel.
    ///
    /// # Errors
    /// The session has ended; it is not to be asked again.
    pub(super) async fn next(&mut self) -> Result<Output, End> {
        loop {
            tokio::select! {
                output = self.outputs.next() => return output,
                () = self.upload.advance(&self.inbox) => {}
                // The session is told that its client is there: whether it is, the connection knows.
                _ = self.alive.tick() => self.seen.touch(),
            }
        }
    }

    /// Returns the answer to a file that could not be transcribed to its end.
    pub(super) async fn refuse(self, end: &End) -> Refusal {
        let refusal = self.refusal(end);
        self.upload.discard().await;
        refusal
    }

    /// The same, of a client that has sent all of it.
    pub(super) fn refusal(&self, end: &End) -> Refusal {
        refused(end, &self.limits)
    }
}
