//! `/v1/realtime`: a socket for live audio, and the secrets with which browsers open one.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::errors::Failed;
use super::models;
use crate::auth::{DEFAULT_LIFE_S, LIFE_S, Principal, Scope};
use crate::clock::unix_now;
use crate::net::Shared;
use crate::net::credentials::check;
use crate::net::upgrade::{self, Full};
use crate::protocol::dialect::Dialect;
use crate::protocol::openai::error::ApiError;
use crate::protocol::openai::realtime;
use crate::protocol::openai::realtime::session::Settings;
use crate::protocol::query::{self, BadQuery};

/// What clients of the beta send as a header, and offer as a subprotocol where they cannot.
const BETA: (&str, &str, &str) = ("openai-beta", "realtime=v1", "openai-beta.realtime-v1");

/// Most bytes of a request for a secret, which is kept with it.
const MAX_BODY: usize = 16 << 10;

/// `GET /v1/realtime`
pub(in crate::net) async fn connect(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let model = query::value(request.uri().query().unwrap_or_default(), "model").map(String::from);
    let module = match models::find(&shared, model.as_deref()) {
        Ok(module) => module,
        Err(failed) => return failed.into_response(),
    };
    upgrade::open(&shared, module, request, Full::Close, dialect)
        .await
        .unwrap_or_else(|response| response)
}

fn dialect(parts: &Parts, principal: Option<&Principal>) -> Result<Dialect, BadQuery> {
    let mut settings = Settings::new(is_beta(&parts.headers));
    settings.take_query(parts.uri.query().unwrap_or_default());
    let given = principal.and_then(|principal| principal.settings.as_deref());
    if let Some(given) = given.and_then(|given| serde_json::from_str::<Value>(given).ok()) {
        // They were checked when the secret was made.
        settings.update(&given).map_err(|error| BadQuery(error.message))?;
    }
    Ok(realtime::open(settings))
}

fn is_beta(headers: &HeaderMap) -> bool {
    let (name, value, subprotocol) = BETA;
    let asks = |value: &HeaderValue, wanted: &str| {
        let mut items = value.as_bytes().split(|byte| *byte == b',');
        items.any(|item| item.trim_ascii() == wanted.as_bytes())
    };
    let mut offers = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).iter();
    headers.get_all(name).iter().any(|field| asks(field, value))
        || offers.any(|field| asks(field, subprotocol))
}

/// A request for a secret.
#[derive(Default, Deserialize)]
struct Wanted {
    expires_after: Option<ExpiresAfter>,
    session: Option<Value>,
}

#[derive(Deserialize)]
struct ExpiresAfter {
    seconds: Option<u32>,
}

/// `POST /v1/realtime/client_secrets`: a credential that a page may have, for sockets with these settings.
pub(in crate::net) async fn client_secret(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let secret = |body: &[u8]| {
        let wanted: Wanted = parse(body)?;
        let seconds = wanted.expires_after.and_then(|after| after.seconds);
        Ok((wanted.session, seconds))
    };
    match issue(&shared, request, false, secret).await {
        Ok((value, expires_at, session)) => no_store(json!({
            "value": value,
            "expires_at": expires_at,
            "session": session,
        })),
        Err(response) => response,
    }
}

/// `POST /v1/realtime/transcription_sessions`: the same in the beta's form.
pub(in crate::net) async fn beta_session(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let secret = |body: &[u8]| Ok((parse::<Option<Value>>(body)?, None));
    match issue(&shared, request, true, secret).await {
        Ok((value, expires_at, mut session)) => {
            session["client_secret"] = json!({ "value": value, "expires_at": expires_at });
            no_store(session)
        }
        Err(response) => response,
    }
}

fn parse<T: Default + serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Failed> {
    if body.trim_ascii().is_empty() {
        return Ok(T::default());
    }
    serde_json::from_slice(body).map_err(|error| {
        let message = format!("the body is not the JSON that it should be: {error}");
        Failed::invalid(ApiError::invalid(None, message))
    })
}

/// What a request for a secret asks for: settings of the sockets, and for how many seconds it is to be good.
type Asked = (Option<Value>, Option<u32>);

async fn issue(
    shared: &Shared,
    request: Request,
    beta: bool,
    read: impl FnOnce(&[u8]) -> Result<Asked, Failed>,
) -> Result<(String, i64, Value), Response> {
    let (parts, body) = request.into_parts();
    let principal = check(shared, &parts, Scope::Listen)
        .await
        .map_err(IntoResponse::into_response)?;
    let body = axum::body::to_bytes(body, MAX_BODY).await.map_err(|_| {
        let error = ApiError::invalid(None, "the body is too long, or was cut off");
        Failed(StatusCode::PAYLOAD_TOO_LARGE, error).into_response()
    })?;
    let (given, seconds) = read(&body).map_err(IntoResponse::into_response)?;
    let mut settings = Settings::new(beta);
    if let Some(given) = &given {
        settings
            .update(given)
            .map_err(|error| Failed::invalid(error).into_response())?;
    }
    let seconds = seconds.unwrap_or(DEFAULT_LIFE_S);
    if !LIFE_S.contains(&seconds) {
        let message = format!(
            "ask for {} to {} seconds, or leave it out",
            LIFE_S.start(),
            LIFE_S.end()
        );
        let error = ApiError::invalid(Some("expires_after.seconds"), message);
        return Err(Failed::invalid(error).into_response());
    }
    let secret = shared
        .guard
        .client_secret(
            &principal,
            given.map(|given| given.to_string()),
            seconds,
            unix_now(),
        )
        .map_err(IntoResponse::into_response)?;
    Ok((secret.id.reveal(), secret.expires_at, settings.to_json()))
}

fn no_store(body: Value) -> Response {
    let fields = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    (fields, Json(body)).into_response()
}
