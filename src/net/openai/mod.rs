//! OpenAI's routes, so that its clients need no more than another base URL and a key of this server.

mod errors;
pub(super) mod models;
pub(super) mod realtime;
pub(super) mod transcriptions;

pub(super) use self::errors::shaped;
