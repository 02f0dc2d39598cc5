//! Requests to the hub. The token is sent to the hub's own origin only, not to a host that the hub redirects to.

use std::time::Duration;

use ureq::http::header::{AUTHORIZATION, LOCATION, RANGE};
use ureq::http::{HeaderMap, Response};
use ureq::{Agent, Body};
use url::Url;

use super::error::HubError;
use super::source::Source;

/// Longest wait for a connection, for the head of an answer, and between two pieces of a body.
const PATIENCE: Duration = Duration::from_secs(60);
/// Redirects followed in a row.
const MAX_REDIRECTS: usize = 10;

/// An HTTP client of one hub.
pub(super) struct Client<'a> {
    source: &'a Source,
    agent: Agent,
    hub: Url,
}

/// The answer to a request, after redirects.
pub(super) struct Answer {
    pub response: Response<Body>,
    /// The heads of the redirects on the way, the hub's first.
    pub redirects: Vec<HeaderMap>,
    /// The host that answered, where that is not the hub.
    pub elsewhere: Option<String>,
}

impl<'a> Client<'a> {
    /// Makes a client of the hub that `source` names.
    ///
    /// # Errors
    /// The hub's address is no URL.
    pub(super) fn new(source: &'a Source) -> Result<Self, HubError> {
        let hub = Url::parse(&source.endpoint)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
            .ok_or_else(|| HubError::Endpoint(source.endpoint.clone()))?;
        let agent = Agent::config_builder()
            .user_agent(concat!(env!("CARGO_PKG_NAME"), "/", env!("CARGO_PKG_VERSION")))
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .build();
        Ok(Self {
            source,
            agent: agent.into(),
            hub,
        })
    }

    /// Returns the address of `file` of `repo`.
    pub(super) fn url(&self, repo: &str, file: &str) -> Url {
        let mut url = self.hub.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty()
                .extend(repo.split('/'))
                .extend(["resolve", "main"])
                .extend(file.split('/'));
        }
        url
    }

    /// Asks for the bytes `range` of `url` and follows redirects. Stops at a redirect to another host if `enough` accepts its head.
    ///
    /// # Errors
    /// There is no connection, or the redirects lead nowhere.
    pub(super) fn get(
        &self,
        name: &str,
        mut url: Url,
        range: &str,
        enough: impl Fn(&HeaderMap) -> bool,
    ) -> Result<Answer, HubError> {
        let mut redirects = Vec::new();
        loop {
            let mut request = self.agent.get(url.as_str()).header(RANGE, range);
            if let Some(token) = self.source.token.as_ref().filter(|_| self.is_hub(&url)) {
                request = request.header(AUTHORIZATION, format!("Bearer {token}"));
            }
            let response = request.call().map_err(|error| HubError::Unreachable {
                name: name.to_owned(),
                endpoint: url.origin().ascii_serialization(),
                reason: error.to_string(),
            })?;
            let next = if matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308) {
                let location = response.headers().get(LOCATION);
                location.and_then(|location| url.join(location.to_str().ok()?).ok())
            } else {
                None
            };
            let Some(next) = next.filter(|next| self.is_hub(next) || !enough(response.headers())) else {
                let elsewhere = (!self.is_hub(&url)).then(|| url.origin().ascii_serialization());
                return Ok(Answer {
                    response,
                    redirects,
                    elsewhere,
                });
            };
            if url.scheme() == "https" && next.scheme() != "https" {
                return Err(self.astray(name, &next, "without TLS, where anybody could answer"));
            }
            redirects.push(response.headers().clone());
            if redirects.len() > MAX_REDIRECTS {
                return Err(self.astray(name, &next, "after too many redirects"));
            }
            url = next;
        }
    }

    fn is_hub(&self, url: &Url) -> bool {
        url.origin() == self.hub.origin()
    }

    fn astray(&self, name: &str, to: &Url, why: &'static str) -> HubError {
        HubError::Astray {
            name: name.to_owned(),
            endpoint: self.source.endpoint.clone(),
            to: to.origin().ascii_serialization(),
            why,
        }
    }
}
