//! The input stage's threads: each owns the decoders of the rows of its shard, cuts their audio into frames and makes tokens
//! of their words.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::audio::decode::Decoder;
use crate::pipeline::credits::{Credits, MIN_CHARGE};
use crate::pipeline::frame::{FrameBuf, FramePool};
use crate::pipeline::input::text::Piece;
use crate::pipeline::links::{IngressRx, LinkError, PcmTx};
use crate::pipeline::messages::{Attach, Ingress, Pcm};
use crate::pipeline::speaking::Saying;
use crate::stream::end::EndReason;
use crate::stream::frame::{FRAME_SAMPLES, SAMPLE_RATE};
use crate::stream::ids::{RowId, RowKey};
use crate::stream::input::{AudioBytes, Control, Encoding};
use crate::stream::text::{TextEntry, Tokenize};
use crate::telemetry::catalogue::Audio;
use crate::telemetry::labels::Codec;

/// What the stage keeps of a row.
struct Stream {
    key: RowKey,
    decoder: Decoder,
    credits: Arc<Credits>,
    tail: Tail,
    failed: bool,
}

/// Audio of a row that was decoded and not sent on.
#[derive(Default)]
struct Tail {
    /// Samples that do not fill a frame yet.
    buf: Option<FrameBuf>,
    /// Credits taken for audio that was not sent on.
    held: u32,
}

/// Where frames come from and where they go.
struct Sink {
    pool: FramePool,
    output: PcmTx,
}

/// A thread of the input stage.
pub struct InputStage {
    /// Row `r` is at `r / shards`.
    streams: Box<[Option<Stream>]>,
    shards: usize,
    sink: Sink,
    /// Of a model that speaks.
    tokenizer: Option<Arc<dyn Tokenize>>,
    meters: Audio,
}

impl InputStage {
    /// The shard `i` of `shards` has the rows `r` with `r % shards == i`.
    #[must_use]
    pub fn new(
        rows: usize,
        shards: usize,
        pool: FramePool,
        output: PcmTx,
        tokenizer: Option<Arc<dyn Tokenize>>,
        meters: Audio,
    ) -> Self {
        let streams = std::iter::repeat_with(|| None)
            .take(rows.div_ceil(shards))
            .collect();
        Self {
            streams,
            shards,
            sink: Sink { pool, output },
            tokenizer,
            meters,
        }
    }

    /// Runs until the sessions end, or the engine does.
    ///
    /// # Errors
    /// The engine ended first, or its link overflowed.
    pub fn run(mut self, input: &IngressRx) -> Result<(), LinkError> {
        while let Some(message) = input.recv() {
            self.apply(message)?;
        }
        Ok(())
    }

    /// Handles one message.
    ///
    /// # Errors
    /// The engine ended, or its link overflowed.
    pub fn apply(&mut self, message: Ingress) -> Result<(), LinkError> {
        match message {
            Ingress::Attach { key, attach } => self.open(key, attach),
            Ingress::Audio { key, charge, audio } => self.audio(key, charge, &audio),
            Ingress::Text { key, piece } => match self.entry(piece) {
                Some(saying) => self.say(key, saying),
                None => {
                    self.give(key, MIN_CHARGE);
                    Ok(())
                }
            },
            Ingress::Voice { key, voice } => self.say(key, Saying::Voice(voice)),
            Ingress::Control { key, control } => self.control(key, control),
            Ingress::Detach { key } => {
                self.slot(key.row).take_if(|stream| stream.key == key);
                self.sink.output.send(Pcm::Detach { key })
            }
        }
    }

    fn slot(&mut self, row: RowId) -> &mut Option<Stream> {
        &mut self.streams[row.index() / self.shards]
    }

    fn open(&mut self, key: RowKey, attach: Box<Attach>) -> Result<(), LinkError> {
        *self.slot(key.row) = Some(Stream {
            key,
            decoder: Decoder::default(),
            credits: Arc::clone(&attach.credits),
            tail: Tail::default(),
            failed: false,
        });
        self.sink.output.send(Pcm::Attach { key, attach })
    }

    fn audio(&mut self, key: RowKey, charge: u32, audio: &AudioBytes) -> Result<(), LinkError> {
        let slot = &mut self.streams[key.row.index() / self.shards];
        let Some(stream) = slot.as_mut().filter(|stream| stream.key == key) else {
            return Ok(());
        };
        if stream.failed {
            stream.credits.give(charge);
            return Ok(());
        }
        stream.tail.held += charge;
        let received = self.meters.received.of(codec(audio.encoding));
        let (decoder, tail, sink) = (&mut stream.decoder, &mut stream.tail, &self.sink);
        let mut sent = Ok(());
        // A decoder that panics has been fed something nobody thought of: the end of that stream, not of the others.
        let decoded = catch_unwind(AssertUnwindSafe(|| {
            decoder.push(audio.encoding, &audio.data, &mut |samples| {
                received.add_samples(samples.len(), SAMPLE_RATE);
                sent = sent.and_then(|()| tail.cut(samples, key, sink));
            })
        }));
        sent?;
        if !matches!(decoded, Ok(Ok(()))) {
            stream.failed = true;
            stream.refund();
            return sink.output.send(Pcm::Fail {
                key,
                reason: EndReason::BadAudio,
            });
        }
        stream.refund();
        Ok(())
    }

    // None for a word that the vocabulary has nothing for.
    fn entry(&self, piece: Piece) -> Option<Saying> {
        let tokenizer = self.tokenizer.as_ref()?;
        Some(match piece {
            Piece::Pause { steps, text } => Saying::Entry {
                entry: TextEntry::Pause { steps },
                text,
            },
            Piece::Word(text) => {
                // A tokenizer that panics has met a word nobody thought of, which is then not said.
                let tokens = catch_unwind(AssertUnwindSafe(|| tokenizer.encode(&text))).ok()?;
                let entry = TextEntry::Word((!tokens.is_empty()).then_some(tokens)?.into());
                Saying::Entry { entry, text }
            }
        })
    }

    fn say(&mut self, key: RowKey, saying: Saying) -> Result<(), LinkError> {
        if self
            .slot(key.row)
            .as_ref()
            .is_some_and(|stream| stream.key == key)
        {
            self.sink.output.send(Pcm::Saying { key, saying })?;
        }
        Ok(())
    }

    fn give(&mut self, key: RowKey, credit: u32) {
        if let Some(stream) = self.slot(key.row).as_ref().filter(|stream| stream.key == key) {
            stream.credits.give(credit);
        }
    }

    fn control(&mut self, key: RowKey, control: Control) -> Result<(), LinkError> {
        let slot = &mut self.streams[key.row.index() / self.shards];
        let Some(stream) = slot.as_mut().filter(|stream| stream.key == key) else {
            return Ok(());
        };
        if stream.failed {
            stream.credits.give(MIN_CHARGE);
            return Ok(());
        }
        let (decoder, tail, sink) = (&mut stream.decoder, &mut stream.tail, &self.sink);
        if matches!(control, Control::Flush | Control::End) {
            let mut sent = Ok(());
            decoder.finish(&mut |samples| {
                sent = sent.and_then(|()| tail.cut(samples, key, sink));
            });
            sent?;
        }
        tail.flush(key, sink)?;
        stream.refund();
        sink.output.send(Pcm::Control { key, control })
    }
}

fn codec(encoding: Encoding) -> Codec {
    match encoding {
        Encoding::F32 => Codec::F32,
        Encoding::Pcm16(_) => Codec::Pcm16,
        Encoding::OggOpus => Codec::Opus,
    }
}

impl Stream {
    /// Gives back what was charged and is not audio that waits here: small messages are charged more than they hold.
    fn refund(&mut self) {
        let waiting = if self.failed { 0 } else { self.tail.samples() };
        let excess = self.tail.held.saturating_sub(waiting);
        self.tail.held -= excess;
        self.credits.give(excess);
    }
}

impl Tail {
    fn samples(&self) -> u32 {
        self.buf.as_ref().map_or(0, FrameBuf::len) as u32
    }

    /// Appends `samples` and sends every frame that is full.
    fn cut(&mut self, samples: &[f32], key: RowKey, sink: &Sink) -> Result<(), LinkError> {
        let mut rest = samples;
        while !rest.is_empty() {
            let buf = self.buf.get_or_insert_with(|| sink.pool.take());
            rest = buf.fill(rest);
            if buf.len() == FRAME_SAMPLES {
                self.flush(key, sink)?;
            }
        }
        Ok(())
    }

    /// Sends what there is, full or not.
    fn flush(&mut self, key: RowKey, sink: &Sink) -> Result<(), LinkError> {
        let Some(buf) = self.buf.take() else {
            return Ok(());
        };
        let credit = self.held.min(buf.len() as u32);
        self.held -= credit;
        sink.output.send(Pcm::Frame { key, buf, credit })
    }
}

#[cfg(test)]
mod tests {

    use super::*;
    use crate::pipeline::bounds::Bounds;
    use crate::pipeline::links::{self, Arrival, PcmRx};
    use crate::stream::voice::Speaker;
    use crate::telemetry::Meters;

    /// A stage with one stream in its only row.
    fn attached() -> (InputStage, PcmRx, Arc<Credits>, RowKey) {
        let bounds = Bounds::new(1, 4);
        let (tx, rx) = links::pcm(bounds);
        let key = RowKey {
            row: RowId(0),
            epoch: std::num::NonZeroU32::MIN,
        };
        let (outbox, _) = links::outbox(1, 0);
        let credits = Arc::new(Credits::new(bounds.credits));
        let meters = Meters::default().audio.clone();
        let mut stage = InputStage::new(1, 1, FramePool::new(4), tx, None, meters);
        let attach = Box::new(Attach {
            credits: Arc::clone(&credits),
            outbox,
            speaker: Speaker::default(),
        });
        stage.apply(Ingress::Attach { key, attach }).unwrap();
        (stage, rx, credits, key)
    }

    /// Sends `bytes` of 32-bit samples, charged as the least that a message costs.
    fn hear(stage: &mut InputStage, credits: &Credits, key: RowKey, bytes: usize) {
        assert!(credits.try_take(MIN_CHARGE));
        let audio = AudioBytes {
            encoding: Encoding::F32,
            data: vec![0; bytes].into(),
        };
        let charge = MIN_CHARGE;
        stage.apply(Ingress::Audio { key, charge, audio }).unwrap();
    }

    fn frames(rx: &PcmRx) -> Vec<(usize, u32)> {
        let mut out = Vec::new();
        while let Arrival::Message(message) = rx.try_recv() {
            match message {
                Pcm::Frame { buf, credit, .. } => out.push((buf.len(), credit)),
                Pcm::Control { .. } => out.push((0, 0)),
                Pcm::Fail { .. } => out.push((usize::MAX, 0)),
                Pcm::Attach { .. } | Pcm::Saying { .. } | Pcm::Detach { .. } | Pcm::Wake => {}
            }
        }
        out
    }

    #[test]
    fn odd_chunks_are_cut_into_frames_and_every_credit_is_accounted_for() {
        let (mut stage, rx, credits, key) = attached();
        // Messages of 100 samples are charged as if they were 480.
        for _ in 0..20 {
            hear(&mut stage, &credits, key, 400);
        }
        assert!(credits.try_take(MIN_CHARGE));
        stage
            .apply(Ingress::Control {
                key,
                control: Control::Mark(1),
            })
            .unwrap();
        assert_eq!(frames(&rx), [(1920, 1920), (80, 80), (0, 0)]);
        assert_eq!(credits.in_flight(), 2000 + MIN_CHARGE);
    }

    #[test]
    fn audio_that_cannot_be_decoded_ends_its_stream_and_holds_nothing() {
        let (mut stage, rx, credits, key) = attached();
        for bytes in [400, 3, 400] {
            hear(&mut stage, &credits, key, bytes);
        }
        assert_eq!(frames(&rx), [(usize::MAX, 0)]);
        assert_eq!(credits.in_flight(), 0);
    }
}
