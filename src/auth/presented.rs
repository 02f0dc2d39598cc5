//! The credentials of a request and where each was found. Nothing here prints.
//!
//! The places are those of Kyutai's clients, of browsers, and of the clients of OpenAI, Deepgram and Gradium, so that these need no
//! more than another base URL and a key of this server.

use std::fmt;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Uri, header};

use super::client_secrets::is_client_secret;
use super::cookie::percent_decoded;
use super::tickets::is_ticket;
use crate::protocol::gradium;
use crate::stream::secret::Secret;

/// The header of Kyutai's clients.
pub const KEY_HEADER: HeaderName = HeaderName::from_static("kyutai-api-key");
/// The header of Gradium's clients, and of many gateways.
const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");
/// Schemes of `Authorization`; `Token` is Deepgram's.
const SCHEMES: [&str; 2] = ["bearer", "token"];
/// The subprotocol of this server's own clients, offered beside `bearer.<credential>`.
pub const SUBPROTOCOL: &str = "moshi";
/// The subprotocol of OpenAI's browser clients, offered beside `openai-insecure-api-key.<key>`.
const OPENAI_SUBPROTOCOL: &str = "realtime";
/// What starts a subprotocol that carries a credential.
const CARRYING: [&str; 2] = ["bearer.", "openai-insecure-api-key."];
/// Subprotocols of Deepgram's browser clients: the offer after one is the credential.
const BEFORE_CREDENTIAL: [&str; 2] = ["token", "bearer"];

/// Where a credential was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// The header `kyutai-api-key`.
    KeyHeader,
    /// The header `x-api-key`.
    XApiKey,
    /// The query parameter `auth_id`, or `token` on Gradium's path.
    Query,
    /// `Authorization: Bearer` or `Authorization: Token`.
    Authorization,
    /// `Sec-WebSocket-Protocol`, the one header that a browser's WebSocket lets a page set.
    Subprotocol,
    /// The session cookie: the browser sent it, whatever the client chose.
    Cookie,
}

/// A credential that a client chose to send: an API key, a ticket or a signed token.
#[derive(Clone, Debug)]
pub struct Candidate {
    pub carrier: Carrier,
    pub credential: Secret,
}

impl Candidate {
    /// Whether the credential is an API key if it is anything: the place is for keys, and it has no other form.
    pub(super) fn can_only_be_a_key(&self) -> bool {
        matches!(self.carrier, Carrier::KeyHeader | Carrier::XApiKey) && !self.has_other_form()
    }

    /// Whether the credential has the form of a ticket, of a client secret or of a signed token.
    pub(super) fn has_other_form(&self) -> bool {
        let text = self.credential.expose();
        is_ticket(text) || is_client_secret(text) || text.split('.').count() == 3
    }
}

/// Every credential of one request.
#[derive(Clone, Debug, Default)]
pub struct Presented {
    /// What the client chose to send, by precedence: the first one decides, and the others are not looked at.
    pub candidates: Vec<Candidate>,
    /// All `Cookie` fields, as bytes. They count only where there are no candidates.
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
        let header = |name: HeaderName| headers.get(name).and_then(|value| credential(value.as_bytes()));
        let authorization = headers.get(header::AUTHORIZATION);
        let places = [
            (Carrier::KeyHeader, header(KEY_HEADER)),
            (Carrier::XApiKey, header(X_API_KEY)),
            (Carrier::Query, in_query(&parts.uri)),
            (
                Carrier::Authorization,
                authorization.and_then(|value| authorized(value.as_bytes())),
            ),
            (Carrier::Subprotocol, subprotocol(headers)),
        ];
        let found = places.into_iter().filter_map(|(carrier, credential)| {
            Some(Candidate {
                carrier,
                credential: credential?,
            })
        });
        Self {
            candidates: found.collect(),
            cookies: headers
                .get_all(header::COOKIE)
                .iter()
                .map(|value| CookieField(value.as_bytes().to_vec()))
                .collect(),
        }
    }

    /// One credential, as if it had come in `Authorization`.
    pub(super) fn alone(credential: Secret) -> Self {
        let carrier = Carrier::Authorization;
        Self {
            candidates: vec![Candidate { carrier, credential }],
            cookies: Vec::new(),
        }
    }

    /// The credential that the client chose; if there is one, its cookies do not count.
    pub fn chosen(&self) -> Option<&Candidate> {
        self.candidates.first()
    }
}

// Bytes that are no UTF-8 make a credential that matches nothing, not an absent one.
fn credential(bytes: &[u8]) -> Option<Secret> {
    let bytes = bytes.trim_ascii();
    if bytes.is_empty() {
        None
    } else {
        Some(Secret::from(String::from_utf8_lossy(bytes).into_owned()))
    }
}

/// The credential in the query: `auth_id`, or on Gradium's path what its browser clients send.
fn in_query(uri: &Uri) -> Option<Secret> {
    let gradium = || parameter(uri, gradium::TOKEN_PARAMETER).filter(|_| uri.path() == gradium::SPEECH);
    auth_id(uri).or_else(gradium)
}

/// The first `auth_id` of the query, decoded as a form (`+` is a space).
pub fn auth_id(uri: &Uri) -> Option<Secret> {
    parameter(uri, "auth_id")
}

fn parameter(uri: &Uri, name: &str) -> Option<Secret> {
    let value = uri
        .query()?
        .split('&')
        .find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))?;
    credential(&percent_decoded(value.replace('+', " ").as_bytes()))
}

// Schemes are compared without regard to case (RFC 9110, section 11.1).
fn authorized(value: &[u8]) -> Option<Secret> {
    let at = value.iter().position(|byte| *byte == b' ')?;
    let (scheme, rest) = value.split_at(at);
    SCHEMES
        .iter()
        .any(|known| scheme.eq_ignore_ascii_case(known.as_bytes()))
        .then(|| credential(rest))?
}

/// The subprotocols that a client offers, in its order.
fn offers(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let fields = headers.get_all(header::SEC_WEBSOCKET_PROTOCOL).into_iter();
    fields
        .flat_map(|field| field.as_bytes().split(|byte| *byte == b','))
        .map(<[u8]>::trim_ascii)
}

fn subprotocol(headers: &HeaderMap) -> Option<Secret> {
    let carried = offers(headers).find_map(|offer| {
        let rest = CARRYING
            .iter()
            .find_map(|start| offer.strip_prefix(start.as_bytes()))?;
        credential(rest)
    });
    carried.or_else(|| {
        let mut offers = offers(headers).skip_while(|offer| !is_before_credential(offer));
        offers.nth(1).and_then(credential)
    })
}

fn is_before_credential(offer: &[u8]) -> bool {
    BEFORE_CREDENTIAL.iter().any(|name| name.as_bytes() == offer)
}

/// The subprotocol to select: a browser drops the connection if it offered some and none is selected. A credential among the offers is
/// never echoed.
pub fn selected_subprotocol(headers: &HeaderMap) -> Option<&'static str> {
    let offered = |name: &str| offers(headers).any(|offer| offer == name.as_bytes());
    let named = [SUBPROTOCOL, OPENAI_SUBPROTOCOL];
    named.into_iter().find(|name| offered(name)).or_else(|| {
        let mut offers = offers(headers).skip_while(|offer| !is_before_credential(offer));
        let first = offers.next()?;
        // Without a credential behind it, it is a subprotocol that this server does not know.
        offers.next()?;
        BEFORE_CREDENTIAL
            .into_iter()
            .find(|name| name.as_bytes() == first)
    })
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

    fn found(uri: &str, headers: &[(&str, &str)]) -> Vec<(Carrier, String)> {
        Presented::from_parts(&parts(uri, headers))
            .candidates
            .into_iter()
            .map(|candidate| (candidate.carrier, candidate.credential.reveal()))
            .collect()
    }

    #[test]
    fn every_place_is_read_in_its_order() {
        let uri = "/api/asr-streaming?format=json&auth_id=a%2Bb&auth_id=second";
        let headers = [
            ("x-api-key", "x"),
            ("kyutai-api-key", " k "),
            ("authorization", "bEaReR t.o.k"),
            ("sec-websocket-protocol", "moshi"),
            ("sec-websocket-protocol", "x, bearer.p.q.r"),
            ("cookie", "a=1"),
            ("cookie", "b=2"),
        ];
        let expected = [
            (Carrier::KeyHeader, "k"),
            (Carrier::XApiKey, "x"),
            (Carrier::Query, "a+b"),
            (Carrier::Authorization, "t.o.k"),
            (Carrier::Subprotocol, "p.q.r"),
        ];
        assert_eq!(
            found(uri, &headers),
            expected.map(|(at, text)| (at, text.to_owned()))
        );
        let all = Presented::from_parts(&parts(uri, &headers));
        assert_eq!(all.cookies.len(), 2);
        assert!(!format!("{all:?}").contains("t.o.k") && !format!("{all:?}").contains("a=1"));
    }

    #[test]
    fn gradiums_browser_clients_send_a_token_in_the_query() {
        let token = [(Carrier::Query, "mst_1".to_owned())];
        assert_eq!(found("/api/speech/asr?token=mst_1", &[]), token);
        assert_eq!(
            found("/api/asr-streaming?token=mst_1", &[]),
            [],
            "elsewhere it may be anything"
        );
    }

    #[test]
    fn empty_credentials_and_other_schemes_are_absent() {
        let headers = [
            ("kyutai-api-key", ""),
            ("x-api-key", " "),
            ("authorization", "Basic YTpi"),
            ("sec-websocket-protocol", "bearer., token"),
        ];
        assert_eq!(found("/?auth_id=&xauth_id=y", &headers), []);
    }

    #[test]
    fn the_clients_of_other_services_offer_their_key_among_the_subprotocols() {
        for (offered, credential, selected) in [
            ("bearer.a.b.c, moshi", Some("a.b.c"), Some("moshi")),
            ("bearer.a.b.c", Some("a.b.c"), None),
            (
                "realtime, openai-insecure-api-key.sk-1, openai-beta.realtime-v1",
                Some("sk-1"),
                Some("realtime"),
            ),
            ("token, dg-key", Some("dg-key"), Some("token")),
            (
                "token, dg-key, x-deepgram-session-id, 00aa-11",
                Some("dg-key"),
                Some("token"),
            ),
            ("bearer, a.b.c", Some("a.b.c"), Some("bearer")),
            ("token", None, None),
            ("graphql-ws, chat", None, None),
        ] {
            let headers = [("sec-websocket-protocol", offered)];
            let credential = credential.map(|text| (Carrier::Subprotocol, text.to_owned()));
            assert_eq!(found("/", &headers), Vec::from_iter(credential), "{offered}");
            let request = parts("/", &headers);
            assert_eq!(selected_subprotocol(&request.headers), selected, "{offered}");
        }
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
