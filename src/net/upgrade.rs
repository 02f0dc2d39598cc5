//! From a request to a session: origin, form, credentials, a place in the queue, and only then the upgrade.

use std::future::Future;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use fastwebsockets::upgrade::UpgradeFut;
use hyper::upgrade::Upgraded;
use tokio::time::timeout;
use tracing::Instrument;

use super::connection::Held;
use super::refusal::Refusal;
use super::{Module, Shared, credentials, handshake, socket};
use crate::auth::{self, Principal, selected_subprotocol};
use crate::clock::unix_now;
use crate::protocol::dialect::Dialect;
use crate::protocol::query::{self, BadQuery};
use crate::session::admission::Refused;
use crate::session::registry::TooMany;
use crate::session::state::{Authenticated, Connecting, Queued, Session};
use crate::stream::end::{End, EndReason};
use crate::stream::voice::{Speaker, SpeakerRequest};
use crate::telemetry::{labels, logs};

/// `GET` on a module's path.
pub(super) async fn connect(
    State(shared): State<Arc<Shared>>,
    module: Arc<Module>,
    request: Request,
) -> Response {
    let full = if shared.server.classic_full {
        Full::Close
    } else {
        Full::Refuse
    };
    open(&shared, &module, request, full, |parts, _| {
        (module.dialect)(parts.uri.query().unwrap_or_default())
    })
    .await
    .unwrap_or_else(|response| response)
}

/// What becomes of a client for whom there is no row and no place in the queue.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    /// It is refused with a status.
    Refuse,
    /// It is let in, told, and sent away: its kind takes a refused upgrade for the last word.
    Close,
}

/// Opens a socket on `module` that speaks what `dialect` says for the request and, once it is known, for its sender.
///
/// # Errors
/// The answer to a request that opens no WebSocket, has no good credentials, or comes to a full server.
pub(super) async fn open(
    shared: &Arc<Shared>,
    module: &Arc<Module>,
    mut request: Request,
    full: Full,
    dialect: impl Fn(&Parts, Option<&Principal>) -> Result<Dialect, BadQuery>,
) -> Result<Response, Response> {
    handshake::check(&request).map_err(IntoResponse::into_response)?;
    let bad = |error: BadQuery| Refusal::new(StatusCode::BAD_REQUEST, error.to_string()).into_response();
    let (response, upgrading) = fastwebsockets::upgrade::upgrade(&mut request)
        .map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, e.to_string()).into_response())?;
    let (parts, _) = request.into_parts();
    // A query that means nothing is told to anybody.
    let unknown = dialect(&parts, None).map_err(bad)?;
    let peer = credentials::peer(&parts);
    let held = parts.extensions.get::<Held>().cloned();
    let connecting = Session::<Connecting>::open(shared.registry.open(peer));
    let principal = match credentials::check(shared, &parts, module.scope).await {
        Ok(principal) => principal,
        Err(refusal) if wants_close(parts.uri.query().unwrap_or_default()) => {
            let context = shared.context.clone();
            let end = end_of(&refusal);
            drop(connecting.close(end.reason));
            after(upgrading, held, shared, move |upgraded| {
                socket::turn_away(upgraded, unknown, None, end, context)
            });
            return Ok(answer(response, selected_subprotocol(&parts.headers)));
        }
        Err(refusal) => {
            drop(connecting.close(end_of(&refusal).reason));
            return Err(refusal.into_response());
        }
    };
    let dialect = dialect(&parts, Some(&principal)).map_err(bad)?;
    let subprotocol = principal.subprotocol;
    let speaker = match speaker(module, &dialect.speaker).await {
        Ok(speaker) => speaker,
        Err(refusal) => {
            drop(connecting.close(EndReason::BadMessage));
            return Err(refusal.into_response());
        }
    };
    let span = logs::session_span(connecting.id(), &module.name, principal.method.label());
    // Clients that do not know the queue are to hear at once that there is no room.
    let waits = dialect.can_queue || full == Full::Refuse;
    let fields = dialect.encoder.fields();
    let admitted = authenticate(shared, connecting, principal)
        .and_then(|session| enqueue(shared, module, session, waits));
    match admitted {
        Ok(session) => {
            let context = shared.context.clone();
            after(upgrading, held, shared, move |upgraded| {
                socket::serve(upgraded, dialect, speaker, session, context).instrument(span)
            });
        }
        Err(Denied::NoRow(Refused::Full)) if full == Full::Close => {
            let why = Some(Refused::Full.to_string());
            let context = shared.context.clone();
            after(upgrading, held, shared, move |upgraded| {
                socket::turn_away(upgraded, dialect, why, EndReason::Full.into(), context)
            });
        }
        Err(denied) => return Err(denied.into_response()),
    }
    let mut response = answer(response, subprotocol);
    add(&mut response, fields);
    Ok(response)
}

/// Adds header fields of a dialect; a value that cannot stand in a header is left out.
pub(super) fn add(response: &mut Response, fields: Vec<(&'static str, String)>) {
    for (name, value) in fields {
        if let Ok(value) = HeaderValue::try_from(value) {
            response
                .headers_mut()
                .insert(HeaderName::from_static(name), value);
        }
    }
}

/// Returns how a stream of `module` begins to speak, for a client that asked so; none where the module does not speak.
///
/// # Errors
/// There is no such voice.
pub(super) async fn speaker(module: &Module, asked: &SpeakerRequest) -> Result<Option<Speaker>, Refusal> {
    let Some(voices) = module.voices.clone() else {
        return Ok(None);
    };
    let name = asked.voice.clone();
    // It may be read from a file.
    let found = tokio::task::spawn_blocking(move || voices.find(name.as_deref())).await;
    match found {
        Ok(Ok(voice)) => Ok(Some(Speaker {
            voice,
            sampling: asked.sampling,
        })),
        Ok(Err(unknown)) => Err(Refusal::new(StatusCode::BAD_REQUEST, unknown.to_string())),
        Err(_) => Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal failure",
        )),
    }
}

// Browsers cannot read the status of a failed upgrade; a page may ask to get a close code instead.
fn wants_close(query: &str) -> bool {
    query::value(query, "auth_close").as_deref() == Some("1")
}

fn end_of(refusal: &auth::Refusal) -> End {
    End::because(refusal.end_reason(), refusal.message())
}

fn answer(
    response: axum::http::Response<http_body_util::Empty<bytes::Bytes>>,
    subprotocol: Option<&'static str>,
) -> Response {
    let mut response = response.map(Body::new);
    if let Some(subprotocol) = subprotocol {
        let value = HeaderValue::from_static(subprotocol);
        response
            .headers_mut()
            .insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    response
}

// The upgrade completes once the response is out; a client that goes away first leaves nothing behind. The connection counts
// as open for as long as its socket is.
fn after<F: Future<Output = ()> + Send + 'static>(
    upgrading: UpgradeFut,
    held: Option<Held>,
    shared: &Shared,
    then: impl FnOnce(Upgraded) -> F + Send + 'static,
) {
    let patience = shared.limits().handshake_timeout;
    tokio::spawn(async move {
        if let Ok(Ok(socket)) = timeout(patience, upgrading).await {
            then(socket.into_inner().into_inner()).await;
        }
        drop(held);
    });
}

/// Why a client with good credentials gets no session.
pub(super) enum Denied {
    NoRow(Refused),
    TooMany(TooMany),
    /// The minutes of the day are used up.
    Minutes(auth::Refusal),
}

impl IntoResponse for Denied {
    fn into_response(self) -> Response {
        match self {
            Self::NoRow(refused) => Refusal::from(refused).into_response(),
            Self::TooMany(too_many) => Refusal::from(too_many).into_response(),
            Self::Minutes(refusal) => refusal.into_response(),
        }
    }
}

/// Counts the session as one of its user's, in number and in minutes.
///
/// # Errors
/// The user has too many sessions, or no minutes left.
pub(super) fn authenticate(
    shared: &Shared,
    connecting: Session<Connecting>,
    principal: Principal,
) -> Result<Session<Authenticated>, Denied> {
    let refused = &shared.context.meters.admission.refused;
    let most = principal
        .limits
        .max_sessions
        .or(shared.limits().max_sessions_per_user);
    let minutes = shared.guard.lease(&principal, unix_now()).map_err(|refusal| {
        refused.of(labels::Refused::UserLimit).increment(1);
        Denied::Minutes(refusal)
    })?;
    connecting
        .authenticated(principal, minutes, most)
        .map_err(|(_, too_many)| {
            refused.of(labels::Refused::UserLimit).increment(1);
            Denied::TooMany(too_many)
        })
}

/// Takes a session to the queue for rows.
///
/// # Errors
/// There is no row and no place in the queue, or the server is stopping.
pub(super) fn enqueue(
    shared: &Shared,
    module: &Module,
    session: Session<Authenticated>,
    waits: bool,
) -> Result<Session<Queued>, Denied> {
    match module.admission.request(waits) {
        Ok(place) => Ok(session.enqueue(place)),
        Err(why) => {
            let (reason, label) = match why {
                Refused::Full => (EndReason::Full, labels::Refused::Full),
                Refused::Stopping => (EndReason::GoingAway, labels::Refused::Draining),
            };
            shared.context.meters.admission.refused.of(label).increment(1);
            drop(session.close(reason));
            Err(Denied::NoRow(why))
        }
    }
}
