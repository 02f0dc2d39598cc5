//! `POST` on a module's path: a whole audio file in, its words out.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::posted::Posting;
use super::refusal::Refusal;
use super::{Module, Shared};
use crate::captions::{Format, Transcript};
use crate::protocol::kyutai::server::ServerMsg;
use crate::protocol::query;
use crate::stream::end::EndReason;
use crate::stream::output::Output;

/// Transcribes the file in `request` with `module`.
pub(super) async fn transcribe(
    State(shared): State<Arc<Shared>>,
    module: Arc<Module>,
    request: Request,
) -> Response {
    serve(&shared, module, request)
        .await
        .unwrap_or_else(|refusal| refusal)
}

async fn serve(shared: &Arc<Shared>, module: Arc<Module>, request: Request) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let posting = Posting::admit(shared, module.scope, &parts, body).await?;
    let answer =
        Answer::from_query(parts.uri.query().unwrap_or_default()).map_err(IntoResponse::into_response)?;
    let mut posted = posting.begin(shared, |_| Ok(module)).await?;
    let mut messages = Vec::new();
    let end = loop {
        match posted.next().await {
            // A file's client is told nothing besides words.
            Ok(output @ (Output::Word { .. } | Output::WordEnd { .. })) => {
                messages.extend(ServerMsg::of(output))
            }
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    match end.reason {
        EndReason::Done => Ok(answer.render(messages)),
        _ => Err(posted.refuse(&end).await.into_response()),
    }
}

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
