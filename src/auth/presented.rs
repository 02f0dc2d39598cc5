//! What a request offers as proof, wherever it stands. Nothing here prints.

use std::fmt;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri, header};

use super::cookie::percent_decoded;

/// The header of Kyutai's clients.
pub const KEY_HEADER: HeaderName = HeaderName::from_static("kyutai-api-key");
/// The subprotocol to select when a token came as its neighbour.
pub const SUBPROTOCOL: &str = "moshi";
const SUBPROTOCOL_TOKEN: &str = "bearer.";

/// A credential as sent; prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential(String);

impl Credential {
    pub(super) fn expose(&self) -> &str {
        &self.0
    }

    /// The credential in clear, to hand to its owner.
    pub fn reveal(self) -> String {
        self.0
    }
}

impl From<String> for Credential {
    fn from(value: String) -> Self {
        Self(value)
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Every credential of one request.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    /// `kyutai-api-key`; shadows everything else.
    pub key: Option<Credential>,
    /// The `auth_id` query parameter: a key, a ticket or a token.
    pub auth_id: Option<Credential>,
    /// `Authorization: Bearer`.
    pub bearer: Option<Credential>,
    /// `Sec-WebSocket-Protocol: moshi, bearer.<token>`.
    pub subprotocol: Option<Credential>,
    /// All `Cookie` fields, as bytes.
    pub cookies: Vec<CookieField>,
}

/// One `Cookie` field; prints as `[redacted]`.
#[derive(Clone, PartialEq, Eq)]
pub struct CookieField(pub Vec<u8>);

impl fmt::Debug for CookieField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl Presented {
    /// Collects the credentials of a request. Empty ones are absent.
    pub fn from_parts(parts: &Parts) -> Self {
        let headers = &parts.headers;
        Self {
            key: headers
                .get(KEY_HEADER)
                .and_then(|value| credential(value.as_bytes())),
            auth_id: auth_id(&parts.uri),
            bearer: headers
                .get(header::AUTHORIZATION)
                .and_then(|value| bearer(value.as_bytes())),
            subprotocol: subprotocol(headers),
            cookies: headers
                .get_all(header::COOKIE)
                .iter()
                .map(|value| CookieField(value.as_bytes().to_vec()))
                .collect(),
        }
    }

    /// Whether the client chose a credential; if so its cookies do not count.
    pub fn is_explicit(&self) -> bool {
        self.key.is_some() || self.token().is_some()
    }

    /// The credential that may be a ticket or a signed token, by precedence.
    pub(super) fn token(&self) -> Option<&Credential> {
        if self.key.is_some() {
            return None;
        }
        self.auth_id
            .as_ref()
            .or(self.bearer.as_ref())
            .or(self.subprotocol.as_ref())
    }
}

// Bytes that are no UTF-8 make a credential that matches nothing, not an absent one.
fn credential(bytes: &[u8]) -> Option<Credential> {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() {
        None
    } else {
        Some(Credential(String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// The first `auth_id` of the query, decoded as a form (`+` is a space).
pub fn auth_id(uri: &Uri) -> Option<Credential> {
    let value = uri
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix("auth_id="))?;
    credential(&percent_decoded(value.replace('+', " ").as_bytes()))
}

fn bearer(value: &[u8]) -> Option<Credential> {
    let (scheme, rest) = value.split_at_checked(7)?;
    if scheme.eq_ignore_ascii_case(b"bearer ") {
        credential(rest)
    } else {
        None
    }
}

fn subprotocol(headers: &HeaderMap) -> Option<Credential> {
    let fields = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offers = fields
        .iter()
        .flat_map(|field| field.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii);
    offers.find_map(|offer| {
        offer
            .strip_prefix(SUBPROTOCOL_TOKEN.as_bytes())
            .and_then(credential)
    })
}

/// The fixed subprotocol, if the client offers it. The token beside it is never echoed.
pub fn selected_subprotocol(headers: &HeaderMap) -> Option<&'static str> {
    let fields = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL);
    let mut offers = fields
        .iter()
        .flat_map(|field| field.as_bytes().split(|b| *b == b','))
        .map(<[u8]>::trim_ascii);
    offers
        .any(|offer| offer == SUBPROTOCOL.as_bytes())
        .then_some(SUBPROTOCOL)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use proptest::prelude::*;

    use super::*;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn every_place_is_read() {
        let all = Presented::from_parts(&parts(
            "/api/asr-streaming?format=json&auth_id=a%2Bb&auth_id=second",
            &[
                ("kyutai-api-key", " k "),
                ("authorization", "bEaReR t.o.k"),
                ("sec-websocket-protocol", "moshi"),
                ("sec-websocket-protocol", "x, bearer.p.q.r"),
                ("cookie", "a=1"),
                ("cookie", "b=2"),
            ],
        ));
        let text = |c: &Option<Credential>| c.as_ref().map(|c| c.expose().to_owned());
        assert_eq!(text(&all.key).as_deref(), Some("k"));
        assert_eq!(
            text(&all.auth_id).as_deref(),
            Some("a+b"),
            "the first of duplicates, decoded"
        );
        assert_eq!(text(&all.bearer).as_deref(), Some("t.o.k"));
        assert_eq!(text(&all.subprotocol).as_deref(), Some("p.q.r"));
        assert_eq!(all.cookies.len(), 2);
        assert!(!format!("{all:?}").contains("t.o.k") && !format!("{all:?}").contains("a=1"));
    }

    #[test]
    fn empty_credentials_and_other_schemes_are_absent() {
        let none = Presented::from_parts(&parts(
            "/?auth_id=&xauth_id=y",
            &[
                ("kyutai-api-key", ""),
                ("authorization", "Basic YTpi"),
                ("sec-websocket-protocol", "bearer."),
            ],
        ));
        assert!(!none.is_explicit());
    }

    #[test]
    fn the_selected_subprotocol_is_fixed() {
        let offered = parts("/", &[("sec-websocket-protocol", "bearer.a.b.c, moshi")]);
        assert_eq!(selected_subprotocol(&offered.headers), Some("moshi"));
        let alone = parts("/", &[("sec-websocket-protocol", "bearer.a.b.c")]);
        assert_eq!(selected_subprotocol(&alone.headers), None);
    }

    proptest! {
        #[test]
        fn any_query_is_read_without_panic(query in "[a-zA-Z0-9%&=+._-]{0,200}") {
            let _ = auth_id(&format!("/x?{query}").parse().unwrap());
        }

        #[test]
        fn an_encoded_auth_id_comes_back(id in "[!-~]{1,40}") {
            let encoded: String = id.bytes().map(|b| format!("%{b:02X}")).collect();
            let found = auth_id(&format!("/x?auth_id={encoded}").parse().unwrap());
            let found = found.unwrap();
            prop_assert_eq!(found.expose(), id);
        }
    }
}
