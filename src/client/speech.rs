//! One whole speech: text in, audio and words out.

use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio_util::task::AbortOnDropHandle;

use crate::client::{ClientError, Endpoint, Sender};
use crate::protocol::kyutai::tts::SpeechMsg;

/// Bytes of text that are read at once.
const PIECE: usize = 4096;

/// Result of a speech.
#[derive(Debug, Default)]
pub struct SpeechReport {
    /// From the request to `Ready`.
    pub ready: Duration,
    /// From `Ready` to the first audio.
    pub first: Option<Duration>,
    /// From `Ready` to the end.
    pub took: Duration,
    pub words: usize,
}

/// Sends `text` as it comes, and hands each message of the server to `heard`. The address of `endpoint` asks for a format with
/// messages.
///
/// # Errors
/// The server cannot be reached, refused, or ended the session before all was said; or `heard` failed.
pub async fn speak(
    endpoint: &Endpoint,
    text: impl AsyncRead + Unpin + Send + 'static,
    mut heard: impl FnMut(&SpeechMsg) -> Result<(), ClientError>,
) -> Result<SpeechReport, ClientError> {
    let mut report = SpeechReport::default();
    let asked = Instant::now();
    let (sender, mut receiver) = endpoint.connect().await?;
    // How it ends shows on the receiving side.
    let _upload = AbortOnDropHandle::new(tokio::spawn(upload(sender.clone(), text)));
    let mut ready = None;
    while let Some(message) = receiver.next::<SpeechMsg>().await? {
        match &message {
            SpeechMsg::Ready => {
                report.ready = asked.elapsed();
                ready = Some(Instant::now());
            }
            SpeechMsg::Error { message } => return Err(ClientError::Server(message.clone())),
            SpeechMsg::Text { .. } => report.words += 1,
            SpeechMsg::Audio { .. } | SpeechMsg::OggOpus { .. } => {
                report.first = report.first.or(ready.map(|ready| ready.elapsed()));
            }
            _ => {}
        }
        heard(&message)?;
    }
    report.took = ready.map(|ready| ready.elapsed()).unwrap_or_default();
    // The server has closed first; all was said either way.
    let _ = sender.close().await;
    Ok(report)
}

/// Sends text up to the last white space each time, so that no word is cut in two.
async fn upload(sender: Sender, mut text: impl AsyncRead + Unpin) -> Result<(), ClientError> {
    let mut waiting = Vec::new();
    loop {
        let before = waiting.len();
        waiting.resize(before + PIECE, 0);
        // What cannot be read is the end of what is said.
        let read = text.read(&mut waiting[before..]).await.unwrap_or(0);
        waiting.truncate(before + read);
        let whole = if read == 0 {
            waiting.len()
        } else {
            waiting
                .iter()
                .rposition(u8::is_ascii_whitespace)
                .map_or(0, |at| at + 1)
        };
        let piece = String::from_utf8_lossy(&waiting[..whole]);
        if !piece.trim().is_empty() {
            sender.text(&piece).await?;
        }
        waiting.drain(..whole);
        if read == 0 {
            return sender.end_of_text().await;
        }
    }
}
