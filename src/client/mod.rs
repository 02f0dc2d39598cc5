//! A client of this server and of Kyutai's: what the `transcribe`, `speak` and `demo` commands and the load
//! tool speak with.

mod connect;
pub mod finish;
mod latency;
mod session;
mod speech;
mod stream;

pub use connect::{Credential, Endpoint};
pub use latency::Latency;
pub use session::{Receiver, Sender};
pub use speech::{SpeechReport, speak};
pub use stream::{Report, stream};

/// Why a conversation with a server failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("`{0}` is not an address like ws://host:8080 or wss://host/api/asr-streaming")]
    Address(String),
    #[error(
        "cannot connect to {address}: {source}; start a server there with `moshi-server worker`, or name another with --url"
    )]
    Connect { address: String, source: std::io::Error },
    #[error("{0} does not speak TLS: write ws:// in place of wss://")]
    NoTls(String),
    #[error("the server did not answer within {0} s")]
    Timeout(u64),
    #[error("the server refused the credentials ({0}); give a valid --api-key or --token")]
    Unauthorized(u16),
    #[error("the server is full; try again later")]
    Full,
    #[error("the server answered with status {status} instead of opening a WebSocket{}", advice(*status, said))]
    Status {
        status: u16,
        /// The text of the answer; empty when it was none for people.
        said: String,
    },
    #[error("the server said: {0}")]
    Server(String),
    #[error("the server closed the connection ({code}{}{reason})", if reason.is_empty() { "" } else { ": " })]
    Closed { code: u16, reason: String },
    #[error("the connection was lost")]
    Lost,
    #[error("the server sent something that is no message: {0}")]
    Message(String),
    #[error("cannot write the audio: {0}")]
    Output(#[from] std::io::Error),
    #[error(transparent)]
    WebSocket(fastwebsockets::WebSocketError),
}

/// What a refused request should do about it: what the server says, or else what the status alone tells.
fn advice(status: u16, said: &str) -> String {
    let advice = match status {
        404 | 405 => "no speech is served on that path; /api/modules_info of the server lists those that are",
        _ if !said.is_empty() => said,
        400 => "it does not understand the query of the address; leave it out",
        426 => "no speech is served on that path, or a proxy in between does not pass WebSockets on",
        429 => {
            "the user has as many sessions or minutes as allowed, or too many attempts with wrong credentials came from this \
             address; try again later"
        }
        _ => return String::new(),
    };
    format!(": {advice}")
}

impl From<fastwebsockets::WebSocketError> for ClientError {
    fn from(error: fastwebsockets::WebSocketError) -> Self {
        use fastwebsockets::WebSocketError as E;
        match error {
            E::UnexpectedEOF | E::ConnectionClosed | E::IoError(_) => Self::Lost,
            error => Self::WebSocket(error),
        }
    }
}

#[cfg(test)]
mod tests;
