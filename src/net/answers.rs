//! What comes back for a posted file: its words in the form asked for, or why there are none.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use crate::captions::{Format, Transcript};
use crate::config::Limits;
use crate::decoder::Ended;
use crate::protocol::kyutai::server::ServerMsg;
use crate::protocol::{close, query};
use crate::session::connection::WriteHalf;
use crate::stream::end::{End, EndReason};
use crate::stream::output::Output;

/// Form of the answer.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// Kyutai's: an array of `Word` and `EndWord`.
    Messages,
    Captions(Format),
}

impl Answer {
    pub(super) fn from_query(query: &str) -> Result<Self, Refusal> {
        match query::value(query, "format").as_deref() {
            None | Some("json") => Ok(Self::Messages),
            Some("text") => Ok(Self::Captions(Format::Txt)),
            Some("srt") => Ok(Self::Captions(Format::Srt)),
            Some("vtt") => Ok(Self::Captions(Format::Vtt)),
            Some(_) => {
                let message = "unknown format: use json, text, srt or vtt";
                Err(Refusal::new(StatusCode::BAD_REQUEST, message))
            }
        }
    }

    pub(super) fn render(self, messages: Vec<ServerMsg>) -> Response {
        let Self::Captions(format) = self else {
            return Json(messages).into_response();
        };
        let kind = match format {
            Format::Srt => "application/x-subrip",
            Format::Vtt => "text/vtt; charset=utf-8",
            Format::Txt | Format::Json => "text/plain; charset=utf-8",
        };
        let mut transcript = Transcript::default();
        for message in &messages {
            transcript.hear(message);
        }
        ([(header::CONTENT_TYPE, kind)], transcript.render(format)).into_response()
    }
}

/// Takes the session's output, as a writer does, and returns its words and its end.
pub(super) async fn collect(from: WriteHalf) -> (Vec<ServerMsg>, End) {
    let WriteHalf {
        mut outbox,
        side,
        over,
        mut close,
    } = from;
    // A file's client is told nothing besides words.
    drop(side);
    let failed = || End::from(EndReason::EngineFailed);
    let mut messages = Vec::new();
    let over_because = loop {
        tokio::select! {
            end = &mut close => return (messages, end.unwrap_or_else(|_| failed())),
            output = outbox.recv() => match output {
                Ok(output @ (Output::Word { .. } | Output::WordEnd { .. })) => messages.extend(ServerMsg::of(output)),
                Ok(_) => {}
                Err(end) => break end,
            }
        }
    };
    // The session decides what it means.
    let _ = over.send(over_because);
    (messages, close.await.unwrap_or_else(|_| failed()))
}

/// The last word on a file whose decoder ended so; none when all of it was decoded.
pub(super) fn end_of(ended: Ended, limits: &Limits) -> Option<End> {
    let bad = |text: String| (EndReason::BadAudio, text);
    let (reason, text) = match ended {
        Ended::Done => return None,
        Ended::BadFile(text) => bad(text),
        Ended::Panicked => bad("the file is damaged: its decoder broke on it".to_owned()),
        Ended::Memory => bad(format!(
            "the file is damaged or of an unusual kind: decoding it needs more than the {} MiB of memory a file may take; \
             convert it to wav",
            limits.max_file_memory_bytes >> 20
        )),
        Ended::Time => bad(format!(
            "the file is damaged or of an unusual kind: its decoder gave no audio in {} s of work; convert it to wav",
            limits.max_file_cpu.as_secs_f64()
        )),
        Ended::Failed(_) | Ended::Killed => (
            EndReason::EngineFailed,
            "the server could not decode the file; its log says why".to_owned(),
        ),
    };
    Some(End::because(reason, text))
}

/// The answer to a file that could not be transcribed to its end.
pub(super) fn refused(end: &End, limits: &Limits) -> Response {
    let refusal = match (end.reason, &end.message) {
        (EndReason::TooBig, None) => too_big(limits),
        (EndReason::PeerGone, None) => {
            let message = "nothing more of the file came: send it again";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
        }
        (reason, _) => match status_of(reason) {
            StatusCode::SERVICE_UNAVAILABLE => Refusal::busy(close::text(end)),
            status => Refusal::new(status, close::text(end)),
        },
    };
    refusal.into_response()
}

/// The answer to a file with more bytes or more audio than is taken.
pub(super) fn too_big(limits: &Limits) -> Refusal {
    let message = format!(
        "the file is too big: at most {} bytes and {} s of audio are taken",
        limits.max_file_bytes,
        limits.max_file.as_secs()
    );
    Refusal::new(StatusCode::PAYLOAD_TOO_LARGE, message)
}

pub(super) fn status_of(reason: EndReason) -> StatusCode {
    match reason {
        EndReason::BadAudio => StatusCode::UNPROCESSABLE_ENTITY,
        EndReason::BadMessage => StatusCode::BAD_REQUEST,
        EndReason::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
        EndReason::PeerGone | EndReason::Idle => StatusCode::REQUEST_TIMEOUT,
        EndReason::Unauthorized => StatusCode::UNAUTHORIZED,
        EndReason::EngineFailed => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
