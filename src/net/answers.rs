//! Why there are no words of a posted file.

use axum::http::StatusCode;

use super::refusal::Refusal;
use crate::config::Limits;
use crate::decoder::Ended;
use crate::protocol::close;
use crate::stream::end::{End, EndReason};

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
pub(super) fn refused(end: &End, limits: &Limits) -> Refusal {
    match (end.reason, &end.message) {
        (EndReason::TooBig, None) => too_big(limits),
        (EndReason::PeerGone, None) => {
            let message = "nothing more of the file came: send it again";
            Refusal::new(StatusCode::REQUEST_TIMEOUT, message)
        }
        (reason, _) => match status_of(reason) {
            StatusCode::SERVICE_UNAVAILABLE => Refusal::busy(close::text(end)),
            status => Refusal::new(status, close::text(end)),
        },
    }
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
