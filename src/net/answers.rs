//! What comes back for a posted file: its words in the form asked for, or why there are none.

use axum::Json;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use crate::captions::{Format, Transcript};
use crate::config::Limits;
use crate::decoder::Ended;
use crate::protocol::close::CloseReason;
use crate::protocol::server::ServerMsg;
use crate::session::wire::{Farewell, Writing};

/// Form of the answer.
#[derive(Clone, Copy)]
pub(super) enum Answer {
    /// Kyutai's: an array of `Word` and `EndWord`.
    Messages,
    Captions(Format),
}

impl Answer {
    pub(super) fn from_query(query: &str) -> Result<Self, Refusal> {
        let format = query.split('&').find_map(|pair| pair.strip_prefix("format="));
        match format {
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
pub(super) async fn collect(from: Writing) -> (Vec<ServerMsg>, Farewell) {
    let Writing {
        mut outbox,
        aside,
        over,
        mut close,
    } = from;
    // A file's client is told nothing besides words.
    drop(aside);
    let failed = || Farewell::from(CloseReason::EngineFailed);
    let mut messages = Vec::new();
    let reason = loop {
        tokio::select! {
            farewell = &mut close => return (messages, farewell.unwrap_or_else(|_| failed())),
            message = outbox.recv() => match message {
                Ok(message @ (ServerMsg::Word { .. } | ServerMsg::EndWord { .. })) => messages.push(message),
                Ok(_) => {}
                Err(reason) => break reason,
            }
        }
    };
    // The session decides what it means.
    let _ = over.send(reason);
    (messages, close.await.unwrap_or_else(|_| failed()))
}

/// The last word on a file whose decoder ended so; none when all of it was decoded.
pub(super) fn farewell_of(ended: Ended, limits: &Limits) -> Option<Farewell> {
    let bad = |text: String| (CloseReason::BadAudio, text);
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
            CloseReason::EngineFailed,
            "the server could not decode the file; its log says why".to_owned(),
        ),
    };
    Some(Farewell {
        reason,
        text: Some(text),
    })
}

/// The answer to a file that could not be transcribed to its end.
pub(super) fn refused(farewell: &Farewell, limits: &Limits) -> Response {
    let refusal = match (farewell.reason, &farewell.text) {
        (CloseReason::TooBig, None) => too_big(limits),
        (CloseReason::PeerGone, None) => {
            let message = "nothing more of the file came: send it again";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
        }
        (reason, _) => match status_of(reason) {
            StatusCode::SERVICE_UNAVAILABLE => Refusal::busy(farewell.text()),
            status => Refusal::new(status, farewell.text()),
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

fn status_of(reason: CloseReason) -> StatusCode {
    match reason {
        CloseReason::BadAudio => StatusCode::UNPROCESSABLE_ENTITY,
        CloseReason::BadMessage => StatusCode::BAD_REQUEST,
        CloseReason::TooBig => StatusCode::PAYLOAD_TOO_LARGE,
        CloseReason::PeerGone | CloseReason::Idle => StatusCode::REQUEST_TIMEOUT,
        CloseReason::Unauthorized => StatusCode::UNAUTHORIZED,
        CloseReason::EngineFailed => StatusCode::INTERNAL_SERVER_ERROR,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}
