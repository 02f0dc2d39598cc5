//! From a request to a session: origin, form, credentials, a place in the queue, and only then the upgrade.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use hyper::upgrade::Upgraded;
use tokio::time::timeout;

use super::refusal::Refusal;
use super::{Module, Peer, Shared, origin, socket};
use crate::auth::Principal;
use crate::protocol::Form;
use crate::protocol::close::CloseReason;
use crate::protocol::server::ServerMsg;
use crate::session::admission::Refused;
use crate::session::state::{Connecting, Queued, Session};
use crate::telemetry::labels::{self, Verdict};

/// `GET` on a module's path.
pub(super) async fn connect(
    State(shared): State<Arc<Shared>>,
    module: Arc<Module>,
    request: Request,
) -> Response {
    open(&shared, &module, request).await.unwrap_or_else(|response| response)
}

/// Whether credentials are good, without using a row.
pub(super) async fn auth_check(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    match check(&shared, &parts, peer(&parts)).await {
        Ok(_) => StatusCode::NO_CONTENT.into_response(),
        Err(refusal) => refusal.into_response(),
    }
}

async fn open(shared: &Arc<Shared>, module: &Arc<Module>, mut request: Request) -> Result<Response, Response> {
    if !fastwebsockets::upgrade::is_upgrade_request(&request) {
        let message = "this is a WebSocket: connect with ws://, or POST an audio file";
        let mut response = Refusal::new(StatusCode::UPGRADE_REQUIRED, message).into_response();
        response.headers_mut().insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        return Err(response);
    }
    if !origin::is_allowed(request.headers(), &shared.server.allowed_origins) {
        let message = "pages of this origin may not connect; the server's allowed_origins says which may";
        return Err(Refusal::new(StatusCode::FORBIDDEN, message).into_response());
    }
    let query = request.uri().query().unwrap_or_default();
    let form = Form::from_query(query)
        .map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, e.to_string()).into_response())?;
    let (response, _) = fastwebsockets::upgrade::upgrade(&mut request)
        .map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, e.to_string()).into_response())?;
    let upgrading = hyper::upgrade::on(&mut request);
    let (parts, _) = request.into_parts();
    let peer = peer(&parts);
    let connecting = Session::<Connecting>::open(shared.registry.open(peer));
    let principal = match check(shared, &parts, peer).await {
        Ok(principal) => principal,
        Err(refusal) => return Err(refusal.into_response()),
    };
    let subprotocol = principal.subprotocol;
    match admit(shared, module, connecting, principal) {
        Ok(session) => {
            let context = shared.context.clone();
            after(upgrading, shared, move |upgraded| socket::serve(upgraded, form, session, context));
        }
        Err(Denied::NoRow(Refused::Full)) if shared.server.classic_full => {
            let message = ServerMsg::Error { message: Refused::Full.to_string() };
            let context = shared.context.clone();
            let farewell = CloseReason::Full.into();
            after(upgrading, shared, move |upgraded| {
                socket::turn_away(upgraded, form, Some(message), farewell, context)
            });
        }
        Err(denied) => return Err(Refusal::from(denied).into_response()),
    }
    Ok(answer(response, subprotocol))
}

fn answer(response: axum::http::Response<http_body_util::Empty<bytes::Bytes>>, subprotocol: Option<&'static str>) -> Response {
    let mut response = response.map(Body::new);
    if let Some(subprotocol) = subprotocol {
        let value = HeaderValue::from_static(subprotocol);
        response.headers_mut().insert(header::SEC_WEBSOCKET_PROTOCOL, value);
    }
    response
}

// The upgrade completes once the response is out; a client that goes away first leaves nothing behind.
fn after<F: Future<Output = ()> + Send + 'static>(
    upgrading: hyper::upgrade::OnUpgrade,
    shared: &Shared,
    then: impl FnOnce(Upgraded) -> F + Send + 'static,
) {
    let patience = shared.limits().handshake_timeout;
    tokio::spawn(async move {
        if let Ok(Ok(upgraded)) = timeout(patience, upgrading).await {
            then(upgraded).await;
        }
    });
}

/// Why a known client gets no session.
pub(super) enum Denied {
    NoRow(Refused),
    TooMany(crate::session::registry::TooMany),
}

impl From<Denied> for Refusal {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NoRow(refused) => refused.into(),
            Denied::TooMany(too_many) => too_many.into(),
        }
    }
}

/// Takes a client that is known from its first stage to the queue.
pub(super) fn admit(
    shared: &Shared,
    module: &Module,
    connecting: Session<Connecting>,
    principal: Principal,
) -> Result<Session<Queued>, Denied> {
    let refused = &shared.context.meters.admission.refused;
    let most = principal.limits.max_sessions.or(shared.limits().max_sessions_per_user);
    let session = connecting
        .authenticated(principal, most)
        .map_err(|(_, too_many)| {
            refused.of(labels::Refused::UserLimit).increment(1);
            Denied::TooMany(too_many)
        })?;
    match module.admission.request() {
        Ok(ticket) => Ok(session.enqueue(ticket)),
        Err(why) => {
            let (reason, label) = match why {
                Refused::Full => (CloseReason::Full, labels::Refused::Full),
                Refused::Stopping => (CloseReason::GoingAway, labels::Refused::Draining),
            };
            refused.of(label).increment(1);
            drop(session.close(reason));
            Err(Denied::NoRow(why))
        }
    }
}

/// The client's address.
pub(super) fn peer(parts: &Parts) -> SocketAddr {
    // The listener puts it on every request.
    parts.extensions.get::<Peer>().map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), |peer| peer.0)
}

/// Checks the credentials of a request.
pub(super) async fn check(shared: &Shared, parts: &Parts, peer: SocketAddr) -> Result<Principal, Refusal> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    let began = Instant::now();
    let checked = shared.guard.check(parts, peer, now).await;
    let (method, verdict) = match &checked {
        Ok(principal) => (principal.method, Verdict::Allowed),
        Err(refusal) => (refusal.method, Verdict::Denied(refusal.reason)),
    };
    let meters = &shared.context.meters.auth;
    meters.check.of(method).record(began.elapsed().as_secs_f64());
    meters.attempts.of((method, verdict)).increment(1);
    checked.map_err(|refusal| Refusal::new(refusal.status(), "credentials are missing or not valid"))
}

