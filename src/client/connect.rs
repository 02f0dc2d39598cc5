//! Opening a WebSocket, plain or over TLS.

use std::sync::Arc;
use std::time::Duration;

use axum::http::{Request, Response, StatusCode, Uri, header};
use bytes::Bytes;
use fastwebsockets::{Role, WebSocket, handshake};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::task::AbortOnDropHandle;

use crate::client::session::{Receiver, Sender};
use crate::client::{ClientError, session};
use crate::protocol::kyutai::Form;

/// Path when the address names none.
const DEFAULT_PATH: &str = "/api/asr-streaming";

/// Time for the connection and the upgrade, in seconds.
const TIMEOUT_S: u64 = 10;

/// Where tickets are given out.
const TICKETS: &str = "/api/ws-ticket";

/// What the server is shown.
#[derive(Clone, Default)]
pub enum Credential {
    #[default]
    None,
    /// A static key or an API key, in the `kyutai-api-key` header.
    ApiKey(String),
    /// A JWT, as a bearer token.
    Token(String),
    /// A JWT, as a browser sends it: in `Sec-WebSocket-Protocol`.
    Subprotocol(String),
    /// The value of a `Cookie` header, from the server's own origin.
    Cookie(String),
    /// A key, shown only to get a single-use ticket for the address of the WebSocket, as pages do.
    Ticket(String),
}

/// A connection, plain or over TLS.
trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Wire for S {}

/// A server, and how to speak with it.
#[derive(Clone)]
pub struct Endpoint {
    /// `ws://host:port` or `wss://host:port`, with a path if it is not the usual one.
    pub url: String,
    pub credential: Credential,
    pub form: Form,
}

impl Endpoint {
    /// Opens a connection.
    ///
    /// # Errors
    /// The server cannot be reached, or does not open a WebSocket.
    pub async fn connect(&self) -> Result<(Sender, Receiver), ClientError> {
        let timeout = Duration::from_secs(TIMEOUT_S);
        tokio::time::timeout(timeout, self.open())
            .await
            .map_err(|_| ClientError::Timeout(TIMEOUT_S))?
    }

    async fn open(&self) -> Result<(Sender, Receiver), ClientError> {
        let wrong = || ClientError::Address(self.url.clone());
        let url: Uri = self.url.parse().map_err(|_| wrong())?;
        let tls = match url.scheme_str() {
            Some("ws") => false,
            Some("wss") => true,
            _ => return Err(wrong()),
        };
        let ticket = match &self.credential {
            Credential::Ticket(key) => Some(ticket(&url, key, self.dial(&url, tls).await?).await?),
            _ => None,
        };
        let socket = self.dial(&url, tls).await?;
        self.upgrade(&url, ticket.as_deref(), socket).await
    }

    async fn dial(&self, url: &Uri, tls: bool) -> Result<Box<dyn Wire>, ClientError> {
        let wrong = || ClientError::Address(self.url.clone());
        let host = url.host().ok_or_else(wrong)?;
        // An IPv6 address stands in brackets in a URL, and without them elsewhere.
        let name = host.trim_start_matches('[').trim_end_matches(']');
        let port = url.port_u16().unwrap_or(if tls { 443 } else { 80 });
        let unreachable = |source| ClientError::Connect {
            address: format!("{host}:{port}"),
            source,
        };
        let socket = TcpStream::connect((name, port)).await.map_err(unreachable)?;
        socket.set_nodelay(true).map_err(unreachable)?;
        if !tls {
            return Ok(Box::new(socket));
        }
        let roots = RootCertStore {
            roots: webpki_roots::TLS_SERVER_ROOTS.into(),
        };
        let config = ClientConfig::builder()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let name = ServerName::try_from(name.to_owned()).map_err(|_| wrong())?;
        let secured = TlsConnector::from(Arc::new(config)).connect(name, socket).await;
        let socket = secured.map_err(|error| {
            let cause = error.get_ref().and_then(|cause| cause.downcast_ref());
            if let Some(rustls::Error::InvalidMessage(_)) = cause {
                ClientError::NoTls(format!("{host}:{port}"))
            } else {
                unreachable(error)
            }
        })?;
        Ok(Box::new(socket))
    }

    async fn upgrade(
        &self,
        url: &Uri,
        ticket: Option<&str>,
        socket: Box<dyn Wire>,
    ) -> Result<(Sender, Receiver), ClientError> {
        let host = authority(url);
        let mut request = Request::get(self.target(url, ticket))
            .header(header::HOST, &host)
            .header(header::UPGRADE, "websocket")
            .header(header::CONNECTION, "upgrade")
            .header(header::SEC_WEBSOCKET_KEY, handshake::generate_key())
            .header(header::SEC_WEBSOCKET_VERSION, "13");
        match &self.credential {
            Credential::None | Credential::Ticket(_) => {}
            Credential::ApiKey(key) => request = request.header("kyutai-api-key", key),
            Credential::Token(token) => {
                request = request.header(header::AUTHORIZATION, format!("Bearer {token}"));
            }
            Credential::Subprotocol(token) => {
                request = request.header(header::SEC_WEBSOCKET_PROTOCOL, format!("moshi, bearer.{token}"));
            }
            Credential::Cookie(cookie) => {
                let scheme = if url.scheme_str() == Some("wss") {
                    "https"
                } else {
                    "http"
                };
                request = request
                    .header(header::COOKIE, cookie)
                    .header(header::ORIGIN, format!("{scheme}://{host}"));
            }
        }
        let request = request.body(Empty::<Bytes>::new());
        let request = request.map_err(|_| ClientError::Address(self.url.clone()))?;
        Ok(session::split(open(request, socket).await?, self.form))
    }

    /// Path and query of the request.
    fn target(&self, url: &Uri, ticket: Option<&str>) -> String {
        let path = if matches!(url.path(), "" | "/") {
            DEFAULT_PATH
        } else {
            url.path()
        };
        let mut query: Vec<String> = url.query().map(str::to_owned).into_iter().collect();
        // An address can ask for the same itself.
        let named = |key: &str| {
            url.query()
                .unwrap_or_default()
                .split('&')
                .any(|pair| pair.starts_with(key))
        };
        if self.form.extras && !named("extras=") {
            query.push("extras=1".to_owned());
        }
        if self.form.json {
            query.push("format=json".to_owned());
        }
        if let Some(rate) = self.form.pcm16 {
            query.push(format!("input=pcm16&rate={}", rate.hz()));
        }
        query.extend(ticket.map(|ticket| format!("auth_id={ticket}")));
        if query.is_empty() {
            path.to_owned()
        } else {
            format!("{path}?{}", query.join("&"))
        }
    }
}

/// Host and port of `url`.
fn authority(url: &Uri) -> String {
    let usual = if url.scheme_str() == Some("wss") { 443 } else { 80 };
    format!(
        "{}:{}",
        url.host().unwrap_or_default(),
        url.port_u16().unwrap_or(usual)
    )
}

/// Asks for the WebSocket over `socket`.
async fn open(
    request: Request<Empty<Bytes>>,
    socket: Box<dyn Wire>,
) -> Result<WebSocket<TokioIo<Upgraded>>, ClientError> {
    let (mut http, connection) = http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|_| ClientError::Lost)?;
    // Ends with the answer, or when the socket becomes a WebSocket.
    tokio::spawn(connection.with_upgrades());
    let response = http.send_request(request).await.map_err(|_| ClientError::Lost)?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refused(response).await);
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|_| ClientError::Lost)?;
    Ok(WebSocket::after_handshake(TokioIo::new(upgraded), Role::Client))
}

/// What an answer means that is not the one hoped for. Text for people is kept, a proxy's page is not.
async fn refused(response: Response<Incoming>) -> ClientError {
    match response.status().as_u16() {
        status @ (401 | 403) => ClientError::Unauthorized(status),
        503 => ClientError::Full,
        status => {
            let kind = response.headers().get(header::CONTENT_TYPE);
            let is_text = kind.is_some_and(|kind| kind.as_bytes().starts_with(b"text/plain"));
            let body = Limited::new(response.into_body(), 4096).collect().await;
            let body = body.ok().filter(|_| is_text).map(|body| body.to_bytes());
            let said = String::from_utf8_lossy(&body.unwrap_or_default())
                .chars()
                .filter(|c| !c.is_control())
                .collect();
            ClientError::Status { status, said }
        }
    }
}

/// Fetches a ticket over `socket`.
async fn ticket(url: &Uri, key: &str, socket: Box<dyn Wire>) -> Result<String, ClientError> {
    #[derive(serde::Deserialize)]
    struct Answer {
        ticket: String,
    }
    let (mut http, connection) = http1::handshake(TokioIo::new(socket))
        .await
        .map_err(|_| ClientError::Lost)?;
    let _connection = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::post(TICKETS)
        .header(header::HOST, authority(url))
        .header("kyutai-api-key", key)
        .body(Empty::<Bytes>::new())
        .map_err(|_| ClientError::Address(url.to_string()))?;
    let response = http.send_request(request).await.map_err(|_| ClientError::Lost)?;
    if response.status() != StatusCode::OK {
        return Err(refused(response).await);
    }
    let body = Limited::new(response.into_body(), 4096).collect().await;
    let body = body.map_err(|_| ClientError::Lost)?.to_bytes();
    let answer: Answer = serde_json::from_slice(&body).map_err(|e| ClientError::Message(e.to_string()))?;
    Ok(answer.ticket)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::input::PcmRate;

    fn target(url: &str, form: Form) -> String {
        Endpoint {
            url: url.to_owned(),
            credential: Credential::None,
            form,
        }
        .target(&url.parse().unwrap(), None)
    }

    #[test]
    fn the_usual_path_and_what_the_form_asks_for() {
        assert_eq!(target("ws://h:1", Form::default()), "/api/asr-streaming");
        assert_eq!(target("ws://h:1/other?a=b", Form::default()), "/other?a=b");
        let extras = Form {
            extras: true,
            ..Form::default()
        };
        assert_eq!(target("ws://h:1/other?extras=1", extras), "/other?extras=1");
        let form = Form {
            extras: true,
            json: true,
            pcm16: PcmRate::new(16_000),
        };
        assert_eq!(
            Form::from_query(target("ws://h/", form).split_once('?').unwrap().1),
            Ok(form)
        );
    }

    #[tokio::test]
    async fn a_port_without_tls_says_so() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("wss://localhost:{}", listener.local_addr().unwrap().port());
        let plain = tokio::spawn(async move {
            let (mut socket, _) = listener.accept().await.unwrap();
            let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
            tokio::io::AsyncWriteExt::write_all(&mut socket, answer)
                .await
                .unwrap();
            socket
        });
        let endpoint = Endpoint {
            url,
            credential: Credential::None,
            form: Form::default(),
        };
        let error = endpoint.connect().await.err().unwrap();
        assert!(matches!(error, ClientError::NoTls(_)), "{error}");
        drop(plain.await);
    }

    #[tokio::test]
    async fn what_is_no_address_says_so() {
        for url in ["http://h", "h:8080", "", "ws://"] {
            let endpoint = Endpoint {
                url: url.to_owned(),
                credential: Credential::None,
                form: Form::default(),
            };
            assert!(
                matches!(endpoint.connect().await, Err(ClientError::Address(_))),
                "{url}"
            );
        }
    }
}
