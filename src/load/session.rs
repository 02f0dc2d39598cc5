//! One paced session. The pace is the clock's, not the server's: a chunk is due when its last sample would have been spoken,
//! and every latency counts from when audio was due. A server that stalls the sender is charged for the stall.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::time::sleep_until;
use tokio_util::task::AbortOnDropHandle;

use super::sound::Clip;
use super::tally::{Latency, Tally};
use super::voice::Voice;
use super::wer::WordErrors;
use crate::client::finish::{finish, is_finished};
use crate::client::{ClientError, Endpoint, Receiver, Sender};
use crate::protocol::kyutai::server::ServerMsg;
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE, seconds};

/// Longest wait for the end of a stream once its audio is sent.
const PATIENCE: Duration = Duration::from_secs(60);

/// The running test: its clock, and where its figures go.
#[derive(Clone)]
pub(super) struct TestRun {
    pub began: Instant,
    /// When sessions stop talking.
    pub until: Instant,
    pub tally: Arc<Mutex<Tally>>,
}

impl TestRun {
    fn add(&self, what: Latency, since: Instant) {
        let now = Instant::now();
        // The clock of a latency may lie ahead: a word can be announced before it is over.
        let seconds = now.saturating_duration_since(since).as_secs_f64();
        self.tally.lock().add(what, seconds, now - self.began);
    }
}

/// Runs one session to its end and counts it.
pub(super) async fn run(endpoint: &Endpoint, clip: Clip, voice: Voice, test: &TestRun) {
    test.tally.lock().sessions.started += 1;
    let outcome = talk(endpoint, clip, voice, test).await;
    let mut tally = test.tally.lock();
    match outcome {
        Ok(()) => tally.sessions.finished += 1,
        Err(error) => tally.ended(&error),
    }
}

/// Opens a session and waits until the server is ready for audio.
pub(super) async fn open(endpoint: &Endpoint) -> Result<(Sender, Receiver), ClientError> {
    let (sender, mut receiver) = endpoint.connect().await?;
    loop {
        match receiver.next().await?.ok_or(ClientError::Lost)? {
            ServerMsg::Ready => return Ok((sender, receiver)),
            ServerMsg::Error { message } => return Err(ClientError::Server(message)),
            _ => {}
        }
    }
}

async fn talk(endpoint: &Endpoint, clip: Clip, voice: Voice, test: &TestRun) -> Result<(), ClientError> {
    let asked = Instant::now();
    let (sender, receiver) = open(endpoint).await?;
    test.add(Latency::Ready, asked);
    let start = Instant::now();
    let (chunk, samples) = (voice.chunk as u64, voice.samples);
    let said = clip.said.filter(|_| samples == clip.samples.len() as u64);
    let sent = Arc::new(AtomicU64::new(u64::MAX));
    let extras = endpoint.form.extras;
    let sending = speak(
        sender.clone(),
        voice,
        test.clone(),
        start,
        extras,
        Arc::clone(&sent),
    );
    let _sending = AbortOnDropHandle::new(tokio::spawn(sending));
    let mut listening = Listening {
        test,
        start,
        chunk,
        sent: &sent,
        frames: 0,
        heard: String::new(),
        words: 0,
    };
    let patience = test.until.saturating_duration_since(start) + PATIENCE;
    let all = tokio::time::timeout(patience, listening.listen(receiver, extras)).await;
    all.map_err(|_| ClientError::Timeout(patience.as_secs()))??;
    // A session cut short by the end of the test is not judged by the whole transcript.
    let whole = sent.load(Ordering::Acquire) == samples;
    if let Some(said) = said.filter(|_| whole) {
        test.tally.lock().errors += WordErrors::between(&said, &listening.heard);
    }
    // The server may have closed first; everything was heard either way.
    let _ = sender.close().await;
    Ok(())
}

/// When the sample number `sample` of a stream was due to be sent in chunks of `chunk`.
fn due(start: Instant, sample: u64, chunk: u64) -> Instant {
    start + Duration::from_secs_f64((sample.div_ceil(chunk) * chunk) as f64 / f64::from(SAMPLE_RATE))
}

async fn speak(
    sender: Sender,
    mut voice: Voice,
    test: TestRun,
    start: Instant,
    extras: bool,
    sent: Arc<AtomicU64>,
) -> Result<(), ClientError> {
    while voice.said() < voice.samples {
        let at = due(start, voice.said() + 1, voice.chunk as u64);
        if at > test.until {
            break;
        }
        sleep_until(at.into()).await;
        let samples = voice.speak(&sender).await?;
        test.add(Latency::Late, at);
        test.tally.lock().audio += seconds(samples as u64);
    }
    sent.store(voice.said(), Ordering::Release);
    for _ in 0..finish(&sender, extras).await? {
        voice.silence(FRAME_SAMPLES, &sender).await?;
    }
    Ok(())
}

struct Listening<'a> {
    test: &'a TestRun,
    start: Instant,
    chunk: u64,
    /// Samples said in all, once that is known.
    sent: &'a AtomicU64,
    frames: u64,
    heard: String,
    words: u64,
}

impl Listening<'_> {
    async fn listen(&mut self, mut receiver: Receiver, extras: bool) -> Result<(), ClientError> {
        while let Some(message) = receiver.next().await? {
            match message {
                ServerMsg::Step { .. } => self.step(),
                ServerMsg::Word { text, start_time } => self.word(&text, start_time),
                ServerMsg::Error { message } => return Err(ClientError::Server(message)),
                message if is_finished(&message, extras) => break,
                _ => {}
            }
        }
        let sent = self.sent.load(Ordering::Acquire);
        if sent == u64::MAX {
            return Err(ClientError::Lost);
        }
        self.test.add(Latency::Flush, due(self.start, sent, self.chunk));
        Ok(())
    }

    fn step(&mut self) {
        self.frames += 1;
        let sample = self.frames * FRAME_SAMPLES as u64;
        // The end of a stream is heard with silence that nobody spoke, faster than real time.
        if sample <= self.sent.load(Ordering::Acquire) {
            self.test.add(Latency::Lag, due(self.start, sample, self.chunk));
            self.test.tally.lock().steps += 1;
        }
    }

    fn word(&mut self, text: &str, start_time: f64) {
        self.words += 1;
        if self.words == 1 {
            self.test.add(Latency::FirstWord, self.start);
        }
        let spoken = Duration::try_from_secs_f64(start_time).unwrap_or_default();
        self.test.add(Latency::Word, self.start + spoken);
        self.test.tally.lock().words += 1;
        self.heard.push_str(text);
        self.heard.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_due_with_the_chunk_that_holds_its_last_sample() {
        let start = Instant::now();
        let ms = |sample, chunk| (due(start, sample, chunk) - start).as_millis();
        assert_eq!(ms(1920, 1920), 80);
        assert_eq!(ms(1920, 480), 80);
        assert_eq!(ms(1920, 888), 111, "three chunks of 37 ms");
        assert_eq!(ms(1921, 1920), 160);
    }
}
