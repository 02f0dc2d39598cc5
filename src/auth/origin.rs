//! Web origins: which pages may use the server with a visitor's cookie, and read its answers.

use axum::http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE, VARY,
};
use axum::http::{HeaderMap, HeaderValue};

use super::reason::Reason;

/// Returns the server's own origin as a browser sees it. A page can forge neither `Host` nor `X-Forwarded-Proto`, which tells
/// the scheme in front of a proxy.
pub(super) fn own_origin(headers: &HeaderMap) -> Option<String> {
    let text = |name: &str| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .map(str::trim)
    };
    Some(
        format!(
            "{}://{}",
            text("x-forwarded-proto").unwrap_or("http"),
            text("host")?
        )
        .to_ascii_lowercase(),
    )
}

/// Returns whether the browser says that the request comes from a page of the very origin it goes to (Fetch Metadata).
pub(super) fn is_same_origin(headers: &HeaderMap) -> bool {
    headers
        .get("sec-fetch-site")
        .is_some_and(|site| site == "same-origin")
}

/// The allow-list of web origins, such as `https://app.example.com`.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<String>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{origin}` is no origin that a browser sends, such as https://app.example.com: {why}")]
pub struct OriginError {
    origin: String,
    why: &'static str,
}

impl Origins {
    /// Makes the list.
    ///
    /// # Errors
    /// An entry is nothing that a browser sends.
    pub fn new(list: impl IntoIterator<Item = String>) -> Result<Self, OriginError> {
        let list: Vec<String> = list.into_iter().collect();
        for origin in &list {
            Self::check_spelling(origin)?;
        }
        Ok(Self(list))
    }

    /// Checks that `origin` is spelled as browsers do (RFC 6454, section 6.2); it is compared as a whole string.
    ///
    /// # Errors
    /// It is spelled otherwise; the error says how.
    pub fn check_spelling(origin: &str) -> Result<(), OriginError> {
        match misspelled(origin) {
            Some(why) => Err(OriginError {
                origin: origin.to_owned(),
                why,
            }),
            None => Ok(()),
        }
    }

    /// Checks the `Origin` of a request that shows a cookie: whole strings, and absent is refused. `own` is the server's
    /// own origin, allowed when the list is empty.
    ///
    /// # Errors
    /// [`Reason::OriginNotAllowed`]
    pub fn check(&self, origin: Option<&[u8]>, own: Option<&str>) -> Result<(), Reason> {
        let origin = origin.ok_or(Reason::OriginNotAllowed)?;
        let allowed = if self.0.is_empty() {
            own.is_some_and(|own| own.as_bytes() == origin)
        } else {
            self.0.iter().any(|allowed| allowed.as_bytes() == origin)
        };
        if allowed {
            Ok(())
        } else {
            Err(Reason::OriginNotAllowed)
        }
    }

    /// Checks the `Origin` of a request to a server without credentials: pages of foreign sites may not use it in their
    /// visitor's name, pages on this machine and programs may.
    ///
    /// # Errors
    /// [`Reason::OriginNotAllowed`]
    pub fn check_anonymous(&self, origin: Option<&[u8]>, own: Option<&str>) -> Result<(), Reason> {
        let Some(bytes) = origin else { return Ok(()) };
        let local = std::str::from_utf8(bytes)
            .ok()
            .and_then(|o| o.split_once("://"))
            .is_some_and(|(_, host)| {
                let name = host
                    .rsplit_once(':')
                    .filter(|(_, port)| port.bytes().all(|b| b.is_ascii_digit()))
                    .map_or(host, |(h, _)| h);
                matches!(name, "localhost" | "127.0.0.1" | "[::1]")
            });
        let is_own = own.is_some_and(|own| own.as_bytes() == bytes);
        if local || is_own {
            Ok(())
        } else {
            self.check(origin, None)
        }
    }

    /// Returns the headers that let a page of a listed origin read an HTTP answer; `None` for all others. Nothing is listed by
    /// default, so cross-origin reading is off.
    pub fn cors(&self, origin: Option<&HeaderValue>) -> Option<HeaderMap> {
        let origin = origin.filter(|o| self.0.iter().any(|allowed| allowed.as_bytes() == o.as_bytes()))?;
        let fixed = HeaderValue::from_static;
        Some(HeaderMap::from_iter([
            (ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone()),
            (ACCESS_CONTROL_ALLOW_CREDENTIALS, fixed("true")),
            (ACCESS_CONTROL_ALLOW_METHODS, fixed("GET, POST")),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                fixed("authorization, content-type, kyutai-api-key, x-api-key"),
            ),
            (ACCESS_CONTROL_MAX_AGE, fixed("600")),
            (VARY, fixed("Origin")),
        ]))
    }
}

fn misspelled(origin: &str) -> Option<&'static str> {
    let Some((scheme, host)) = origin.split_once("://") else {
        return Some("the scheme is missing");
    };
    if origin.contains('*') {
        return Some("there are no wildcards; list each origin");
    }
    if host.is_empty() {
        return Some("the host is missing");
    }
    if host.contains('/') {
        return Some("it has no path and no slash at its end");
    }
    if host.contains(['?', '#', '@', ' ']) {
        return Some("it is scheme, host and port alone");
    }
    if origin != origin.to_ascii_lowercase() {
        return Some("it is in lower case");
    }
    match (scheme, host.rsplit_once(':')) {
        ("https", Some((_, "443"))) | ("http", Some((_, "80"))) => {
            Some("the port that belongs to the scheme is left out")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(n, v)| (axum::http::HeaderName::from_static(n), v.parse().unwrap()))
            .collect()
    }

    #[test]
    fn without_a_list_the_servers_own_origin_is_allowed() {
        let origins = Origins::default();
        let own = own_origin(&headers(&[
            ("host", "App.example:8443"),
            ("x-forwarded-proto", "https"),
        ]));
        assert_eq!(own.as_deref(), Some("https://app.example:8443"));
        assert!(
            origins
                .check(Some(b"https://app.example:8443"), own.as_deref())
                .is_ok()
        );
        assert!(
            origins
                .check(Some(b"http://app.example:8443"), own.as_deref())
                .is_err(),
            "the scheme counts"
        );
        assert!(
            origins
                .check(Some(b"https://app.example"), own.as_deref())
                .is_err(),
            "the port counts"
        );
        assert!(origins.check(None, own.as_deref()).is_err());
    }

    #[test]
    fn an_open_server_hears_no_foreign_pages() {
        let origins = Origins::default();
        assert!(origins.check_anonymous(None, None).is_ok());
        assert!(
            origins
                .check_anonymous(Some(b"http://localhost:5173"), None)
                .is_ok()
        );
        for foreign in [
            "https://evil.test",
            "http://localhost.evil.test",
            "http://localhost:1@evil.test",
            "null",
            "",
        ] {
            assert!(
                origins
                    .check_anonymous(Some(foreign.as_bytes()), Some("http://127.0.0.1:8080"))
                    .is_err(),
                "{foreign}"
            );
        }
    }

    #[test]
    fn cors_is_off_unless_the_origin_is_listed() {
        let value = HeaderValue::from_static("https://app.example");
        assert!(Origins::default().cors(Some(&value)).is_none());
        let listed = Origins::new(["https://app.example".to_owned()]).unwrap();
        assert_eq!(
            listed.cors(Some(&value)).unwrap()[ACCESS_CONTROL_ALLOW_ORIGIN],
            value
        );
        assert!(
            listed
                .cors(Some(&HeaderValue::from_static("https://evil.test")))
                .is_none()
        );
    }

    #[test]
    fn the_list_holds_origins_only() {
        for (wrong, why) in [
            ("*", "scheme"),
            ("null", "scheme"),
            ("app.example", "scheme"),
            ("https://", "host"),
            ("https://app.example/", "slash"),
            ("https://*.example", "wildcards"),
            ("https://App.example", "lower case"),
            ("https://me@app.example", "alone"),
            ("https://app.example:443", "port"),
            ("http://app.example:80", "port"),
        ] {
            let error = Origins::new([wrong.to_owned()]).unwrap_err().to_string();
            assert!(error.contains(wrong) && error.contains(why), "{error}");
        }
        for good in [
            "https://app.example",
            "http://localhost:5173",
            "http://app.example:443",
            "http://[::1]:8080",
            "tauri://localhost",
        ] {
            assert!(Origins::new([good.to_owned()]).is_ok(), "{good}");
        }
    }
}
