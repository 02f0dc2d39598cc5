//! `POST` on Deepgram's path: a whole file in, one object with its words out.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt as _, stream};
use parking_lot::Mutex;
use sha2::{Digest as _, Sha256};

use super::posted::{Posted, Posting};
use super::refusal::Refusal;
use super::services::{nothing_listens, said_as};
use super::{Module, Shared};
use crate::auth::Scope;
use crate::captions::Transcript;
use crate::protocol::deepgram;
use crate::protocol::deepgram::prerecorded::Options;
use crate::protocol::kyutai::server::ServerMsg;
use crate::protocol::query;
use crate::protocol::segmenter::Word;
use crate::stream::end::{End, EndReason};
use crate::stream::output::Output;

/// `POST /v1/listen`
pub(super) async fn listen(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    match serve(&shared, request).await {
        Ok(response) => response,
        Err(refused) => said_as(deepgram::refusal, refused).await,
    }
}

async fn serve(shared: &Arc<Shared>, request: Request) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default();
    let bad = |message: String| Refusal::new(StatusCode::BAD_REQUEST, message).into_response();
    let hash = Arc::<Mutex<Sha256>>::default();
    let options = Options::from_query(query);
    let head = options
        .as_ref()
        .ok()
        .and_then(|options| options.format.wav_head());
    let posting = Posting::admit(shared, Scope::Listen, &parts, whole(head, body, &hash)).await?;
    let options = options.map_err(|error| bad(error.to_string()))?;
    if is_json(&parts.headers) {
        let message = "send the file itself: this server fetches nothing from a URL";
        return Err(bad(message.to_owned()));
    }
    let model = query::value(query, "model");
    let module: Arc<Module> = Arc::clone(shared.listening(model.as_deref()).ok_or_else(nothing_listens)?);
    let name = module.name.clone();
    let mut posted = posting.begin(shared, |_| Ok(module)).await?;
    let (words, end) = words(&mut posted).await;
    if end.reason != EndReason::Done {
        return Err(posted.refuse(&end).await.into_response());
    }
    // The decoder may be done before the last bytes of the file have come.
    posted.upload.taken().await;
    let hash = hash.lock().clone().finalize().into();
    let json = options.answer(&name, &words, &hash, posted.upload.seconds());
    Ok(([(header::CONTENT_TYPE, "application/json")], json).into_response())
}

/// The file as it is decoded: raw audio gets a `head`. What the client sent is counted into `hash`.
fn whole(head: Option<Vec<u8>>, body: Body, hash: &Arc<Mutex<Sha256>>) -> Body {
    let hash = Arc::clone(hash);
    let sent = body.into_data_stream().inspect(move |piece| {
        if let Ok(piece) = piece {
            hash.lock().update(piece);
        }
    });
    let head = head.map(|head| Ok(Bytes::from(head)));
    Body::from_stream(stream::iter(head).chain(sent))
}

/// Whether the body names a file elsewhere instead of being one.
fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers.get(header::CONTENT_TYPE);
    kind.is_some_and(|kind| kind.as_bytes().starts_with(b"application/json"))
}

/// Goes on to the end of the file; returns its words and how it ended.
async fn words(posted: &mut Posted) -> (Vec<Word>, End) {
    let mut heard = Transcript::default();
    let end = loop {
        match posted.next().await {
            Ok(output @ (Output::Word { .. } | Output::WordEnd { .. })) => {
                if let Some(message) = ServerMsg::of(output) {
                    heard.hear(&message);
                }
            }
            Ok(_) => {}
            Err(end) => break end,
        }
    };
    let words = heard.words().iter().map(|word| Word {
        text: word.text.clone(),
        start: word.start_time,
        end: word.end(),
    });
    (words.collect(), end)
}
