//! Which web pages may connect. Browsers send cookies along to any site a page names, so a page of another site could
//! speak in its visitor's name; programs that are no browsers send no `Origin`.

use axum::http::{HeaderMap, header};

/// True when the request comes from no web page, from one of the server's own, or from one of `allowed`.
pub(super) fn is_allowed(headers: &HeaderMap, allowed: &[String]) -> bool {
    let Some(origin) = headers.get(header::ORIGIN) else {
        return true;
    };
    let Ok(origin) = origin.to_str() else { return false };
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    let own = origin.split_once("://").map(|(_, host)| host);
    own.is_some_and(|own| host.is_some_and(|host| own.eq_ignore_ascii_case(host)))
        || allowed.iter().any(|allowed| allowed.eq_ignore_ascii_case(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(origin: Option<&str>, allowed: &[&str]) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, "stt.example.org:8080".parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        is_allowed(
            &headers,
            &allowed.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(),
        )
    }

    #[test]
    fn other_sites_need_permission() {
        assert!(check(None, &[]));
        assert!(check(Some("https://stt.example.org:8080"), &[]));
        assert!(!check(Some("https://evil.example"), &[]));
        assert!(!check(Some("null"), &[]));
        assert!(!check(Some("https://stt.example.org:8080.evil.example"), &[]));
        assert!(check(
            Some("https://app.example.org"),
            &["https://app.example.org"]
        ));
    }
}
