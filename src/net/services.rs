//! Routes of other services' APIs, answered as those services do: sockets, and credentials for browsers.

use std::sync::Arc;

use axum::Json;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::Shared;
use super::credentials::{issue, no_store};
use super::refusal::Refusal;
use super::upgrade::{Full, add, open};
use crate::auth::Ticket;
use crate::clock::unix_now;
use crate::protocol::service::{self, Model, Service};
use crate::protocol::{deepgram, gradium, query};

/// Bytes of a refusal that are looked at for its words.
const MAX_WORDS: usize = 4096;

/// Opens a socket as `service` does, with the module that the query's `model` names.
pub(super) async fn connect(
    State(shared): State<Arc<Shared>>,
    service: &'static Service,
    request: Request,
) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let name = query::value(query, "model");
    let opened = match shared.listening(name.as_deref()) {
        Some(module) => {
            let model = Model {
                name: &module.name,
                delay: module.text_delay,
            };
            let full = if service.full_in_words {
                Full::Close
            } else {
                Full::Refuse
            };
            let query = request.uri().query().unwrap_or_default().to_owned();
            open(&shared, module, request, full, |_, _| {
                (service.open)(&query, model)
            })
            .await
        }
        None => Err(nothing_listens()),
    };
    match opened {
        Ok(response) => response,
        Err(refused) => said_as(service.refusal, refused).await,
    }
}

/// The answer of a server that has no module for the route.
pub(super) fn nothing_listens() -> Response {
    let message = "this server has no module that takes audio";
    Refusal::new(StatusCode::NOT_FOUND, message).into_response()
}

/// Says a refusal in the words of a service: the status and the fields of the head stay.
pub(super) async fn said_as(words: fn(u16, &str) -> service::Refusal, refused: Response) -> Response {
    let (mut parts, body) = refused.into_parts();
    let body = to_bytes(body, MAX_WORDS).await.unwrap_or_default();
    let service::Refusal { body, fields } = words(parts.status.as_u16(), &message(&body));
    parts.headers.remove(header::CONTENT_LENGTH);
    let json = HeaderValue::from_static("application/json");
    parts.headers.insert(header::CONTENT_TYPE, json);
    let mut response = Response::from_parts(parts, Body::from(body));
    add(&mut response, fields);
    response
}

/// What a refusal of this server says: a line of text, or the `error` of an object.
fn message(body: &[u8]) -> String {
    let object: Option<serde_json::Value> = serde_json::from_slice(body).ok();
    let error = object.as_ref().and_then(|object| object.get("error")?.as_str());
    error.map_or_else(|| String::from_utf8_lossy(body).trim().to_owned(), str::to_owned)
}

/// `POST /v1/auth/grant`: a credential for one connection, to be used at once. A life that the body asks for is not given.
pub(super) async fn grant(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let answer = |ticket: Ticket| {
        let life = ticket.expires_at.saturating_sub(unix_now()).max(0);
        json!({ "access_token": ticket.id.expose(), "expires_in": life })
    };
    credential(&shared, request, answer, deepgram::refusal).await
}

/// `GET` on Gradium's path for credentials: one for one connection.
pub(super) async fn token(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let answer = |ticket: Ticket| {
        let moment = OffsetDateTime::from_unix_timestamp(ticket.expires_at);
        let expires_at = moment.ok().and_then(|moment| moment.format(&Rfc3339).ok());
        json!({ "token": ticket.id.expose(), "expires_at": expires_at })
    };
    credential(&shared, request, answer, gradium::refusal).await
}

async fn credential(
    shared: &Shared,
    request: Request,
    answer: impl FnOnce(Ticket) -> serde_json::Value,
    words: fn(u16, &str) -> service::Refusal,
) -> Response {
    let (parts, _) = request.into_parts();
    match issue(shared, &parts).await {
        Ok(ticket) => no_store(Json(answer(ticket))),
        Err(refusal) => said_as(words, refusal.into_response()).await,
    }
}
