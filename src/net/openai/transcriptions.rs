//! `POST /v1/audio/transcriptions`: a form with a file in, its words out, at once or as they are found.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::stream;

use super::errors::Failed;
use super::models;
use crate::auth::Scope;
use crate::captions::{Format, Transcript, Word};
use crate::net::credentials::check;
use crate::net::posted::{Posted, Posting};
use crate::net::{Module, Shared};
use crate::protocol::kyutai::server::ServerMsg;
use crate::protocol::openai::error::ApiError;
use crate::protocol::openai::transcription::{
    Event, Options, Plain, ResponseFormat, Segment, TimedWord, Usage, Verbose, sse,
};
use crate::stream::end::{End, EndReason};
use crate::stream::output::Output;

/// `POST /v1/audio/translations`: there is no model here that translates.
pub(in crate::net) async fn no_translations(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    if let Err(refusal) = check(&shared, &parts, Scope::Listen).await {
        return refusal.into_response();
    }
    let message = "this server does not translate: POST /v1/audio/transcriptions writes down what is said";
    Failed(StatusCode::NOT_FOUND, ApiError::invalid(None, message)).into_response()
}

/// `POST /v1/audio/transcriptions`
pub(in crate::net) async fn create(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    serve(&shared, request).await.unwrap_or_else(|refusal| refusal)
}

async fn serve(shared: &Arc<Shared>, request: Request) -> Result<Response, Response> {
    let (parts, body) = request.into_parts();
    let posting = Posting::admit(shared, Scope::Listen, &parts, body).await?;
    if !posting.is_form() {
        let message = "send a form (multipart/form-data) with the audio as its part `file`";
        return Err(Failed::invalid(ApiError::invalid(Some("file"), message)).into_response());
    }
    let mut picked = None;
    let posted = posting
        .begin(shared, |fields| {
            let module = models::find(shared, fields.get("model"))?;
            picked = Some(Arc::clone(module));
            Ok(Arc::clone(module))
        })
        .await?;
    let mut reading = Reading::of(posted);
    // Any field may stand behind the file, so the answer begins when all of it is here.
    let begun = reading.begin().await;
    let options = match begun {
        Ok(()) => reading
            .options(shared, picked.as_ref())
            .map_err(IntoResponse::into_response)?,
        Err(end) => return Err(reading.posted.refuse(&end).await.into_response()),
    };
    if options.stream {
        return Ok(streamed(reading));
    }
    match reading.rest().await {
        EndReason::Done => Ok(render(&options, &reading.heard, reading.seconds())),
        _ => {
            let end = reading.ended.unwrap_or_else(|| EndReason::EngineFailed.into());
            Err(reading.posted.refuse(&end).await.into_response())
        }
    }
}

/// A file that is being transcribed, and its words so far.
struct Reading {
    posted: Posted,
    heard: Transcript,
    /// Words that were found and not yet streamed.
    waiting: VecDeque<String>,
    /// The text that was streamed.
    text: String,
    ended: Option<End>,
}

impl Reading {
    fn of(posted: Posted) -> Self {
        Self {
            posted,
            heard: Transcript::default(),
            waiting: VecDeque::new(),
            text: String::new(),
            ended: None,
        }
    }

    /// Goes on until all of the body was taken, and a word was found or the file is over.
    async fn begin(&mut self) -> Result<(), End> {
        while self.ended.is_none() && (self.waiting.is_empty() || !self.posted.upload.is_taken()) {
            self.go_on().await;
        }
        if let Some(end) = self.ended.take_if(|end| end.reason != EndReason::Done) {
            return Err(end);
        }
        // The fields behind the file are still to come where its audio was found out sooner.
        self.posted.upload.taken().await;
        Ok(())
    }

    /// Goes on to the end of the file and returns how it ended.
    async fn rest(&mut self) -> EndReason {
        loop {
            match &self.ended {
                Some(end) => return end.reason,
                None => self.go_on().await,
            }
        }
    }

    /// Takes what the session says next.
    async fn go_on(&mut self) {
        match self.posted.next().await {
            Ok(output @ (Output::Word { .. } | Output::WordEnd { .. })) => {
                if let Output::Word { text, .. } = &output {
                    self.waiting.push_back(text.clone());
                }
                if let Some(message) = ServerMsg::of(output) {
                    self.heard.hear(&message);
                }
            }
            Ok(_) => {}
            Err(end) => self.ended = Some(end),
        }
    }

    /// What the form asks for, when all of it is here.
    fn options(&self, shared: &Shared, picked: Option<&Arc<Module>>) -> Result<Options, Failed> {
        let fields = self.posted.upload.fields();
        if let Some(broken) = fields.broken {
            return Err(Failed::invalid(ApiError::invalid(None, broken.to_string())));
        }
        let meant = models::find(shared, fields.get("model")).ok();
        if picked
            .zip(meant)
            .is_some_and(|(picked, meant)| !Arc::ptr_eq(picked, meant))
        {
            let message = "put the field model in front of the file: it says which module the file goes to";
            return Err(Failed::invalid(ApiError::invalid(Some("model"), message)));
        }
        Options::read(|name| fields.get(name)).map_err(Failed::invalid)
    }

    fn seconds(&self) -> f64 {
        milli(self.posted.upload.seconds())
    }

    /// The next event of a streamed transcript, and whether more follow.
    async fn event(&mut self) -> (String, bool) {
        loop {
            if let Some(word) = self.waiting.pop_front() {
                let start = self.text.len();
                if start > 0 {
                    self.text.push(' ');
                }
                self.text.push_str(&word);
                let delta = &self.text[start..];
                return (Event::Delta { delta }.to_sse(), true);
            }
            match &self.ended {
                None => self.go_on().await,
                Some(end) if end.reason == EndReason::Done => {
                    let usage = Usage::of(self.seconds());
                    let text = &self.text;
                    return (Event::Done { text, usage }.to_sse(), false);
                }
                Some(end) => {
                    let refusal = self.posted.refusal(end);
                    let error = ApiError::of_status(refusal.status.as_u16(), refusal.message);
                    return (sse(&error.to_json()), false);
                }
            }
        }
    }
}

fn streamed(reading: Reading) -> Response {
    let events = stream::unfold(Some(reading), |reading| async {
        let mut reading = reading?;
        let (event, more) = reading.event().await;
        Some((Ok::<_, Infallible>(event), more.then_some(reading)))
    });
    let headers = [
        (header::CONTENT_TYPE, "text/event-stream; charset=utf-8"),
        (header::CACHE_CONTROL, "no-store"),
        // nginx would keep the words back until there are many.
        (header::HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(events)).into_response()
}

fn render(options: &Options, heard: &Transcript, seconds: f64) -> Response {
    let plain = |text: String| ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response();
    let usage = Usage::of(seconds);
    match options.format {
        ResponseFormat::Json => {
            let text = joined(heard.words());
            Json(Plain { text, usage }).into_response()
        }
        ResponseFormat::Text => plain(joined(heard.words()) + "\n"),
        ResponseFormat::Srt => plain(heard.render(Format::Srt)),
        ResponseFormat::Vtt => plain(heard.render(Format::Vtt)),
        ResponseFormat::VerboseJson => Json(verbose(options, heard, seconds)).into_response(),
    }
}

fn verbose(options: &Options, heard: &Transcript, seconds: f64) -> Verbose {
    let segments = heard.segments().into_iter().enumerate().map(|(id, words)| {
        let start = words.first().map_or(0.0, |word| word.start_time);
        let end = words.last().map_or(start, Word::end);
        Segment::new(id, milli(start), milli(end), joined(words))
    });
    let words = heard.words().iter().map(|word| TimedWord {
        word: word.text.clone(),
        start: milli(word.start_time),
        end: milli(word.end()),
    });
    Verbose {
        task: "transcribe",
        language: options.language_name().to_owned(),
        duration: seconds,
        text: joined(heard.words()),
        segments: segments.collect(),
        words: words.collect(),
        usage: Usage::of(seconds),
    }
}

fn joined(words: &[Word]) -> String {
    let words: Vec<&str> = words.iter().map(|word| word.text.as_str()).collect();
    words.join(" ")
}

/// To whole milliseconds.
fn milli(seconds: f64) -> f64 {
    (seconds * 1000.0).round() / 1000.0
}
