//! APIs of other services that this server answers as they do, so that their clients need no more than another base URL.

use super::dialect::Dialect;
use super::query::BadQuery;

/// The model that a session is for, as far as a dialect speaks of it.
#[derive(Clone, Copy, Debug)]
pub struct Model<'m> {
    pub name: &'m str,
    /// Frames by which its text lags its audio.
    pub delay: u32,
}

/// A socket of another service.
pub struct Service {
    /// Opens its dialect as the query string asks.
    pub open: fn(query: &str, model: Model<'_>) -> Result<Dialect, BadQuery>,
    /// Says why a request is refused as its clients read it.
    pub refusal: fn(status: u16, message: &str) -> Refusal,
    /// A full server lets its clients in to tell them so, because they take any refusal of the upgrade for the last word.
    pub full_in_words: bool,
}

/// What a refused request is told, besides the status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// JSON.
    pub body: String,
    /// Further header fields.
    pub fields: Vec<(&'static str, String)>,
}
