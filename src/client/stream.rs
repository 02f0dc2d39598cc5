//! One whole stream: audio in, a transcript and how long it took out.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;
use tokio_util::task::AbortOnDropHandle;

use crate::captions::Transcript;
use crate::client::finish::{finish, is_finished};
use crate::client::{ClientError, Endpoint, Latency, Sender};
use crate::protocol::kyutai::server::ServerMsg;
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE, seconds};

/// Result of a stream.
#[derive(Debug, Default)]
pub struct Report {
    pub transcript: Transcript,
    /// From the request to `Ready`.
    pub ready: Duration,
    /// From the first audio to the end of the stream.
    pub took: Duration,
    /// Length of the audio.
    pub audio: Duration,
    /// From the moment a word began to be sent until it came back. Empty unless the audio was sent in real time.
    pub words: Latency,
}

/// Sends the pieces of `audio` (mono, 24 kHz), `pace` times as fast as they were spoken or as fast as the server takes
/// them, and hands each message to `heard`.
///
/// # Errors
/// The server cannot be reached, refused, or ended the session before it was done.
pub async fn stream(
    endpoint: &Endpoint,
    audio: mpsc::Receiver<Vec<f32>>,
    pace: Option<f64>,
    mut heard: impl FnMut(&ServerMsg),
) -> Result<Report, ClientError> {
    let mut report = Report::default();
    let asked = Instant::now();
    let (sender, mut receiver) = endpoint.connect().await?;
    loop {
        match receiver.next().await?.ok_or(ClientError::Lost)? {
            ServerMsg::Ready => break,
            ServerMsg::Error { message } => return Err(ClientError::Server(message)),
            other => heard(&other),
        }
    }
    report.ready = asked.elapsed();

    let extras = endpoint.form.extras;
    let started = Instant::now();
    let sent = Arc::new(AtomicU64::new(0));
    let upload = upload(sender.clone(), audio, pace, extras, started, sent.clone());
    // How it ends shows on the receiving side.
    let _upload = AbortOnDropHandle::new(tokio::spawn(upload));
    while let Some(message) = receiver.next().await? {
        if report.transcript.hear(&message)
            && pace == Some(1.0)
            && let ServerMsg::Word { start_time, .. } = &message
        {
            let spoken = Duration::try_from_secs_f64(*start_time).unwrap_or_default();
            report.words.add(started.elapsed().saturating_sub(spoken));
        }
        heard(&message);
        match message {
            ServerMsg::Error { message } => return Err(ClientError::Server(message)),
            message if is_finished(&message, extras) => break,
            _ => {}
        }
    }
    report.took = started.elapsed();
    report.audio = Duration::from_secs_f64(seconds(sent.load(Ordering::Relaxed)));
    // The server may have closed first; the transcript is whole either way.
    let _ = sender.close().await;
    Ok(report)
}

/// Sends everything; `sent` counts samples, without the silence after them.
async fn upload(
    sender: Sender,
    mut audio: mpsc::Receiver<Vec<f32>>,
    pace: Option<f64>,
    extras: bool,
    started: Instant,
    sent: Arc<AtomicU64>,
) -> Result<(), ClientError> {
    while let Some(piece) = audio.recv().await {
        for chunk in piece.chunks(FRAME_SAMPLES) {
            let total = sent.fetch_add(chunk.len() as u64, Ordering::Relaxed) + chunk.len() as u64;
            if let Some(pace) = pace {
                // Live audio is there when its last sample has been spoken.
                let due = Duration::from_secs_f64(total as f64 / (f64::from(SAMPLE_RATE) * pace));
                tokio::time::sleep_until((started + due).into()).await;
            }
            sender.audio(chunk).await?;
        }
    }
    for _ in 0..finish(&sender, extras).await? {
        sender.audio(&[0.0; FRAME_SAMPLES]).await?;
    }
    Ok(())
}
