//! The query string of a request, read as a form (WHATWG URL, "application/x-www-form-urlencoded parsing").

use std::borrow::Cow;

/// A query that asks for something unknown. The message says what to ask for instead.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadQuery(pub String);

/// Returns the first value of `name` in `query`, decoded.
///
/// ```
/// use moshi_server::protocol::query::value;
/// assert_eq!(value("a=1&format=so+me%2F&format=x", "format").as_deref(), Some("so me/"));
/// assert_eq!(value("format", "format").as_deref(), Some(""));
/// assert_eq!(value("reformat=1", "format"), None);
/// ```
#[must_use]
pub fn value<'q>(query: &'q str, name: &str) -> Option<Cow<'q, str>> {
    form_urlencoded::parse(query.as_bytes())
        .find(|(key, _)| key == name)
        .map(|(_, value)| value)
}
