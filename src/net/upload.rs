//! A posted file on its way: from its body through the process that decodes it, to the session that transcribes it.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::StatusCode;
use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::io::AsyncReadExt as _;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

use super::answers::end_of;
use super::body::feed;
use super::form::Fields;
use super::refusal::Refusal;
use super::sink::BodyError;
use crate::config::Limits;
use crate::decoder::Decoder;
use crate::session::connection::Inbound;
use crate::stream::end::{End, EndReason};
use crate::stream::frame::SAMPLE_RATE;
use crate::stream::input::{AudioBytes, Control, Encoding, Input};

/// Bytes of a decoded sample.
const SAMPLE: usize = size_of::<f32>();

/// Bytes of decoded audio handed to the session at once: half a second.
const MESSAGE: usize = SAMPLE * SAMPLE_RATE as usize / 2;

/// How long the rest of a file is taken that was refused.
const PATIENCE: Duration = Duration::from_secs(3);

/// A file on its way: from its body through its decoder. All of it ends when this is dropped.
pub(super) struct Upload {
    feed: AbortOnDropHandle<Result<(), BodyError>>,
    /// All of the body was taken.
    fed: bool,
    fields: Arc<Mutex<Fields>>,
    decoder: Decoder,
    limits: Arc<Limits>,
    /// Audio that was decoded and not handed on.
    bytes: BytesMut,
    /// Bytes of audio so far.
    total: u64,
    /// What is to be handed to the session next.
    ready: Option<Result<Option<Bytes>, End>>,
    /// The session has all that it gets.
    handed: bool,
}

impl Upload {
    /// `boundary` is what is between the parts of a body that is a form.
    pub(super) fn new(
        body: Body,
        boundary: Option<String>,
        mut decoder: Decoder,
        limits: &Arc<Limits>,
    ) -> Result<Self, Refusal> {
        let to = decoder
            .file
            .take()
            .ok_or_else(|| Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal failure"))?;
        let limits = Arc::clone(limits);
        let fields = Arc::<Mutex<Fields>>::default();
        let (feeding, found) = (Arc::clone(&limits), Arc::clone(&fields));
        let feed = tokio::spawn(async move { feed(body, boundary, to, &found, &feeding).await });
        Ok(Self {
            feed: AbortOnDropHandle::new(feed),
            fed: false,
            fields,
            decoder,
            limits,
            bytes: BytesMut::new(),
            total: 0,
            ready: None,
            handed: false,
        })
    }

    /// Waits for the first audio, so that what comes before it keeps no row from others.
    ///
    /// # Errors
    /// There is none in this file, or not within `file_open_s`.
    pub(super) async fn open(&mut self) -> Result<(), End> {
        let within = self.limits.file_open;
        let first = timeout(within, self.next()).await.unwrap_or_else(|_| {
            let message = format!(
                "no audio was found in the file within {} s: send it faster, or as wav, which is transcribed while it comes",
                within.as_secs_f64()
            );
            Err(End::because(EndReason::PeerGone, message))
        })?;
        self.ready = Some(Ok(first));
        Ok(())
    }

    /// The fields of the form, as far as they have come; none of a body that is no form.
    pub(super) fn fields(&self) -> parking_lot::MutexGuard<'_, Fields> {
        self.fields.lock()
    }

    /// Whether all of the body was taken.
    pub(super) const fn is_taken(&self) -> bool {
        self.fed
    }

    /// Waits until all of the body was taken. Safe to cancel.
    pub(super) async fn taken(&mut self) {
        if !self.fed {
            // The file was decoded to its end; what is wrong behind it, the fields say.
            let _ = (&mut self.feed).await;
            self.fed = true;
        }
    }

    /// Length of the audio so far, in seconds.
    pub(super) fn seconds(&self) -> f64 {
        self.total as f64 / (SAMPLE as f64 * f64::from(SAMPLE_RATE))
    }

    /// The next audio, whole samples; none at the end of the file. Safe to cancel.
    async fn next(&mut self) -> Result<Option<Bytes>, End> {
        let most = self
            .limits
            .max_file
            .as_secs()
            .saturating_mul(u64::from(SAMPLE_RATE) * SAMPLE as u64);
        loop {
            self.bytes.reserve(MESSAGE);
            let mut room = (&mut self.decoder.audio).take((MESSAGE - self.bytes.len()) as u64);
            let read = tokio::select! {
                biased;
                fed = &mut self.feed, if !self.fed => {
                    self.fed = true;
                    fed.map_err(|_| EndReason::EngineFailed)??;
                    continue;
                }
                read = room.read_buf(&mut self.bytes) => read.map_err(|_| EndReason::EngineFailed)?,
            };
            self.total += read as u64;
            if self.total > most {
                return Err(EndReason::TooBig.into());
            }
            if read == 0 {
                return self.end().await;
            }
            let whole = self.bytes.len() / SAMPLE * SAMPLE;
            if whole > 0 {
                return Ok(Some(self.bytes.split_to(whole).freeze()));
            }
        }
    }

    async fn end(&mut self) -> Result<Option<Bytes>, End> {
        let ended = self.decoder.ended().await;
        match end_of(ended, &self.limits) {
            None => Ok(None),
            Some(end) => Err(end),
        }
    }

    /// Ends the decoder and lets the client finish, if it does so soon: one that is still sending when the connection closes may
    /// never read why.
    pub(super) async fn discard(self) {
        let Self {
            feed, fed, decoder, ..
        } = self;
        drop(decoder);
        if !fed {
            let _ = timeout(PATIENCE, feed).await;
        }
    }

    /// Hands the next audio, or the end of the file, to the session; when it has all, takes the rest of the body. Safe to cancel; never
    /// ends once nothing is left to do.
    pub(super) async fn advance(&mut self, inbox: &mpsc::Sender<Inbound>) {
        if self.handed {
            if self.fed {
                return std::future::pending().await;
            }
            return self.taken().await;
        }
        if self.ready.is_none() {
            self.ready = Some(self.next().await);
        }
        // A session that has ended says so by itself.
        let Ok(place) = inbox.reserve().await else {
            self.handed = true;
            return;
        };
        let message = match self.ready.take() {
            Some(Ok(Some(data))) => {
                let encoding = Encoding::F32;
                Inbound::Input(Input::Audio(AudioBytes { encoding, data }))
            }
            Some(Err(end)) => {
                self.handed = true;
                Inbound::Ended(end)
            }
            Some(Ok(None)) | None => {
                self.handed = true;
                Inbound::Input(Input::Control(Control::End))
            }
        };
        place.send(message);
    }
}
