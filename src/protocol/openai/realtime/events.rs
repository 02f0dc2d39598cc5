//! Events of the server, as they are on the wire.

use serde_json::{Value, json};

use super::ids::new_id;
use super::session::Settings;
use crate::protocol::openai::error::ApiError;

/// The event `name` with `fields`, an object.
pub(super) fn event(name: &str, fields: Value) -> String {
    let mut event = json!({ "type": name, "event_id": new_id("event") });
    if let (Some(event), Value::Object(fields)) = (event.as_object_mut(), fields) {
        event.extend(fields);
    }
    event.to_string()
}

/// The settings, as the event `name`.
pub(super) fn session(name: &str, settings: &Settings) -> String {
    event(name, json!({ "session": settings.to_json() }))
}

/// Something that could not be done, because of the client's event `event_id`. The session goes on.
pub(super) fn error(error: &ApiError, event_id: Option<&str>) -> String {
    let ApiError {
        message,
        kind,
        param,
        code,
    } = error;
    let error =
        json!({ "type": kind, "code": code, "message": message, "param": param, "event_id": event_id });
    event("error", json!({ "error": error }))
}
