//! Errors as OpenAI's clients read them: one shape, on every route.

use serde::Serialize;

/// What went wrong.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ApiError {
    pub message: String,
    /// The class of error, which clients show.
    #[serde(rename = "type")]
    pub kind: &'static str,
    /// The field that is wrong.
    pub param: Option<&'static str>,
    /// What programs look at.
    pub code: Option<&'static str>,
}

/// The body of an answer that is an error.
#[derive(Clone, Debug, Serialize)]
struct Envelope<'e> {
    error: &'e ApiError,
}

impl ApiError {
    /// An error that the client can mend: a field `param` that cannot be used.
    pub fn invalid(param: Option<&'static str>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            kind: "invalid_request_error",
            param,
            code: None,
        }
    }

    /// The error that goes with an HTTP status.
    pub fn of_status(status: u16, message: impl Into<String>) -> Self {
        let (kind, code) = match status {
            401 => ("invalid_request_error", Some("invalid_api_key")),
            403 => ("invalid_request_error", Some("insufficient_permissions")),
            429 => ("rate_limit_exceeded", Some("rate_limit_exceeded")),
            500.. => ("server_error", None),
            _ => ("invalid_request_error", None),
        };
        Self {
            message: message.into(),
            kind,
            param: None,
            code,
        }
    }

    /// Returns the error as a body, or as the data of an event.
    #[must_use]
    pub fn to_json(&self) -> String {
        // invariant: plain strings can always be written.
        serde_json::to_string(&Envelope { error: self }).unwrap_or_default()
    }
}

/// The status that OpenAI's clients know for `status`: they have none for a file that cannot be decoded but that of a bad request.
#[must_use]
pub const fn status(status: u16) -> u16 {
    match status {
        422 => 400,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_has_all_four_fields() {
        assert_eq!(
            ApiError::of_status(401, "no key").to_json(),
            r#"{"error":{"message":"no key","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}"#
        );
        let error = ApiError::invalid(Some("response_format"), "use json");
        assert!(
            error
                .to_json()
                .contains(r#""param":"response_format","code":null"#)
        );
        for (status, kind) in [
            (400, "invalid_request_error"),
            (413, "invalid_request_error"),
            (429, "rate_limit_exceeded"),
            (503, "server_error"),
        ] {
            assert_eq!(ApiError::of_status(status, "").kind, kind);
        }
    }
}
